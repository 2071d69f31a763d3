"""What a run, and all runs of a policy on a day, may use: on the real node, with a real gateway."""

import json
import secrets
from contextlib import closing
from typing import Any

import pytest

from agents import Agents, Controller, changed_policy, condition
from anchorhold import names
from attempts import Attempts
from bed.api import Api, administrator, bearer
from bed.installation import GATEWAY, SYSTEM, Installation
from bed.kube import Document, Kubectl, RefusedError, wait_for
from tenants import Tenants, wide_policy
from window import ASK, MODEL, world_log

TENANT = "team-budget"
# A policy whose day nobody has used before.
OTHER = f"team-day-{secrets.token_hex(3)}"
# Asks a model for a turn until something is wrong, says what came of it, and then does ENDING.
TALK = (
    ASK
    + """
turn = json.dumps({'messages': [{'role': 'user', 'content': 'add'}]}).encode()
while True:
    got = ask('/model.test/v1/chat/completions', body=turn)
    print(got[0], got[1] if got[0] != 200 else '', flush=True)
    if got[0] == 429 and got[1] == 'budget-exhausted':
        break
    time.sleep(PAUSE)
ENDING
"""
)
THREE_TURNS = (
    ASK
    + """
turn = json.dumps({'messages': [{'role': 'user', 'content': 'add'}]}).encode()
tell(found=[ask('/model.test/v1/chat/completions', body=turn)[0] for _ in range(3)])
"""
)
WAITS, GIVES_UP = "time.sleep(600)", "sys.exit(1)"
ASKS_ON = "while True: print(ask('/model.test/v1/x')[0], flush=True); time.sleep(1)"


def talk(ending: str = WAITS, pause: float = 0.2) -> str:
    """What the agent does."""
    return TALK.replace("PAUSE", str(pause)).replace("ENDING", ending)


def tenant(tenants: Tenants, name: str, **budgets: dict[str, int]) -> Agents:
    """A namespace with one rule, and a policy of its own name with these budgets."""
    written = wide_policy(name, tenants.image)
    written["spec"]["egress"] = {"rules": [MODEL], **budgets}
    tenants.policy(written)
    return tenants.onboard(name, name)


@pytest.fixture(scope="module")
def windowed(gateway: Installation, tenants: Tenants) -> Agents:
    """A tenant whose runs may ask fifty times each."""
    return tenant(tenants, TENANT, budget={"requests": 50})


def egress(**budget: int) -> Document:
    """What a run asks for."""
    return {"rules": [{"name": "model"}], **({"budget": budget} if budget else {})}


def usage(run: Document) -> dict[str, Any]:
    """What the gateway says of a run."""
    return dict(run["status"].get("usage", {}))


def turns_since(place: int) -> int:
    """How many turns arrived in the world."""
    return len([line for line in world_log()[place:] if '"POST /v1/chat/completions' in line])


def answers(window: Agents, run: str) -> list[str]:
    """What the agent has been answered so far."""
    return [line.split()[0] for line in window.said(run).splitlines() if line.strip()]


@pytest.mark.parametrize("ending", [WAITS, GIVES_UP])
def test_a_run_that_spent_its_budget_ends(window: Agents, ending: str, attempts: Attempts):
    """Whether its agent gives up or not; the record is kept, and the Pod goes."""
    before = len(world_log())

    run = window.end(name := window.submit(talk(ending), egress=egress(requests=5)))

    assert condition(run)["reason"] == "BudgetExhausted", run["status"]
    assert condition(run)["message"] == "`egress.budget.requests` is spent"
    assert run["status"]["effective"]["budget"] == {"requests": 5}
    assert (usage(run)["requests"], usage(run)["exhausted"]) == (5, "budget.requests")
    assert turns_since(before) == 5
    if ending == WAITS:
        window.until_gone(name)
    attempts.record(
        "gateway",
        "a request beyond the run's budget",
        "a cell",
        "429 and the run's end",
        "200 five times",
    )


def test_a_run_within_its_budget_completes_and_its_usage_is_on_record(window: Agents):
    """The control: as many requests as ended the other, and the policy's budget is recorded."""
    code = ASK + "tell(found=[ask('/model.test/v1/x')[0] for _ in range(7)])"

    run = window.end(name := window.submit(code, egress=egress()))

    assert condition(run)["reason"] == "Completed", run["status"]
    assert json.loads(run["status"]["result"]["message"])["found"] == [200] * 7
    assert run["status"]["effective"]["budget"] == {"requests": 50}

    def is_settled() -> bool:
        found = usage(window.get(name))
        return found.get("requests") == 7 and not any(found["reserved"].values())

    wait_for(is_settled, 60, "the last word on what it used")
    found = usage(window.get(name))
    assert found["bytesSent"] > 7 * 100
    assert found["bytesReceived"] > 7 * 100
    assert condition(window.get(name))["reason"] == "Completed"


def test_tokens_are_counted_as_the_model_reports_them(window: Agents):
    """42 a turn, of 100."""
    before = len(world_log())

    run = window.end(name := window.submit(talk(pause=1), egress=egress(tokens=100)))

    assert condition(run)["message"] == "`egress.budget.tokens` is spent"
    assert turns_since(before) == 3
    wait_for(lambda: usage(window.get(name))["tokens"] == 126, 60, "the tokens on record")


@pytest.mark.long
def test_with_the_controller_down_nothing_more_is_let_pass(window: Agents, controller: Controller):
    """And the run ends when the controller is back."""
    run = window.running(talk(ASKS_ON, pause=1), egress=egress(requests=20))
    controller.stop()

    wait_for(lambda: answers(window, run).count("429") >= 5, 90, "the budget to be spent")

    assert answers(window, run).count("200") == 20
    (pod,) = window.pods(run)
    assert pod["status"]["phase"] == "Running"
    controller.start()
    window.until(run, "BudgetExhausted")


def test_a_policy_that_is_tightened_bites_at_once(
    window: Agents, kubectl: Kubectl, controller: Controller
):
    run = window.running(talk(ASKS_ON, pause=0.5), egress=egress())
    wait_for(lambda: answers(window, run).count("200") >= 3, 60, "some answers")
    controller.stop()

    with changed_policy(kubectl, TENANT, {"egress": {"rules": [MODEL], "budget": {"requests": 3}}}):
        wait_for(lambda: "429" in answers(window, run), 60, "the refusal")

    assert answers(window, run).count("200") < 50


@pytest.mark.long
def test_a_new_gateway_gives_out_no_fresh_budget(window: Agents, kubectl: Kubectl):
    """A step of two at most is lost, and one request whose answer nobody waited for."""
    before = len(world_log())
    run = window.running(talk(pause=0.3), egress=egress(requests=40), activeDeadlineSeconds=200)
    wait_for(lambda: answers(window, run).count("200") >= 10, 60, "some answers")

    kubectl.delete("pod", "gateway-0", GATEWAY, "--grace-period=0", "--force")

    window.until(run, "BudgetExhausted")
    assert 36 <= turns_since(before) <= 40
    assert usage(window.get(run))["requests"] == 40


def test_a_day_of_a_policy_holds_across_its_runs(tenants: Tenants, kubectl: Kubectl):
    """And across a restart of the gateway."""
    before = len(world_log())
    other = tenant(tenants, OTHER, dailyBudget={"requests": 5})
    first = other.end(other.submit(THREE_TURNS, egress=egress()))
    assert condition(first)["reason"] == "Completed", first["status"]
    kubectl.delete("pod", "gateway-0", GATEWAY, "--grace-period=0", "--force")
    kubectl("-n", GATEWAY, "rollout", "status", "statefulset/gateway", "--timeout=120s")

    second = other.end(other.submit(talk(), egress=egress()))

    assert condition(second)["reason"] == "BudgetExhausted", second["status"]
    assert condition(second)["message"] == "`egress.dailyBudget.requests` is spent"
    assert usage(second)["requests"] == 2
    assert turns_since(before) == 5
    found = kubectl.get("configmap", "gateway-0-usage", GATEWAY)
    assert found is not None
    record = json.loads(found["data"][OTHER])
    assert record["requests"] + record["reserved"]["requests"] == 5


def status_of(who: Api, run: str, **status: object) -> str:
    """What the API server says to a patch of a status; nothing if it takes it."""
    path = f"/apis/anchorhold.dev/v1alpha1/namespaces/{TENANT}/agentruns/{run}/status"
    with closing(who):
        return who.ask("PATCH", path, {"status": status}).refusal


def test_the_gateway_may_write_nothing_but_usage(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    """With its own token; and nobody else may write that."""
    run = window.running(egress=egress())
    account = bearer(kubectl, GATEWAY, names.GATEWAY_ACCOUNT)
    teller = bearer(kubectl, SYSTEM, names.CONTROLLER)
    admin = administrator(kubectl)
    author = admin.acting_as(f"author-of-{TENANT}", "system:authenticated")

    said = {
        "usage": status_of(account, run, usage={"requests": 1}),
        "podName": status_of(account, run, podName="other"),
        "conditions": status_of(account, run, conditions=[]),
        "by the controller": status_of(teller, run, usage={"requests": 0}),
        "by an admin": status_of(admin, run, usage={"requests": 0}),
        "by its author": status_of(author, run, usage={"requests": 0}),
    }

    assert said.pop("usage") == ""
    assert "must not be written by Anchorhold's gateway" in said["podName"]
    assert "must not be written by Anchorhold's gateway" in said["conditions"]
    assert "must be written by Anchorhold's gateway only" in said["by the controller"]
    assert "must be written by Anchorhold's controller only" in said["by an admin"]
    assert "agentruns/status" in said["by its author"]
    for what, words in said.items():
        attempts.record(
            "gateway", f"a false status: {what}", "an account", words[:60], "usage: yes"
        )


def test_the_gateway_may_change_the_record_of_the_day_and_no_other(kubectl: Kubectl):
    account = kubectl.acting_as_account(GATEWAY, names.GATEWAY_ACCOUNT)
    patch = json.dumps({"data": {"nobody": "{}"}})
    words = ("-n", GATEWAY, "--type=merge", "-p", patch, "--dry-run=server")
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "another", "namespace": GATEWAY},
        }
    )

    account("patch", "configmap", "gateway-0-usage", *words)
    with pytest.raises(RefusedError):
        account("patch", "configmap", "another", *words)
    for verb in ("create", "delete", "list"):
        assert account.run("auth", "can-i", verb, "configmaps", "-n", GATEWAY).returncode

    kubectl.delete("configmap", "another", GATEWAY)
