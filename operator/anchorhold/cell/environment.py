"""The agent's environment: what its author set, what its rules set over that, and what we set."""

from anchorhold import names
from anchorhold.cell import metadata
from anchorhold.policy.grant import Grant
from anchorhold.policy.window import Window


def of_agent(grant: Grant, way_out: Window) -> list[metadata.Manifest]:
    """Each variable once; the later word counts."""
    values = {item.name: item.value for item in grant.request.spec.env}
    for rule in grant.rules:
        values |= {item.name: filled(item.value, way_out) for item in rule.env}
    values |= {
        "HOME": names.WORKSPACE_DIRECTORY,
        names.RESULT_VARIABLE: names.RESULT_PATH,
    }
    if grant.rules:
        values |= {
            names.GATEWAY_VARIABLE: way_out.address,
            names.TOKEN_VARIABLE: way_out.token,
        }
    return [{"name": name, "value": literal(value)} for name, value in values.items()]


def filled(text: str, way_out: Window) -> str:
    """A rule's value, with the gateway and the token of this very run."""
    return text.replace("{gateway}", way_out.address).replace("{token}", way_out.token)


def literal(text: str) -> str:
    """Escapes what the kubelet would expand: `$(NAME)` (Kubernetes, "Container" reference)."""
    return text.replace("$", "$$")
