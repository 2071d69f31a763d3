"""Which rule allows a request: hosts, ports, methods and paths."""

from typing import Any

import pytest

from anchorhold.api.egress import EgressRule
from anchorhold.gateway import rules
from anchorhold.gateway.rules import Target


def rule(**fields: Any) -> EgressRule:  # noqa: ANN401
    usual = {"name": "model", "host": "api.test", "methods": ["GET"], "paths": ["/v1/**"]}
    return EgressRule.parse({**usual, **fields})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("/api.test/v1/x", Target("GET", "api.test", 443, "/v1/x")),
        ("/API.Test/V1", Target("GET", "api.test", 443, "/V1")),
        ("/api.test", Target("GET", "api.test", 443, "/")),
        ("/api.test/?a=/b", Target("GET", "api.test", 443, "/?a=/b")),
        ("/api.test:8443/x", Target("GET", "api.test", 8443, "/x")),
        ("/api.test:/x", None),
        ("/api.test:443x/x", None),
        ("/api.test:٤/x", None),
        ("/api.test:1234567/x", None),
        ("/api.test?a=b", None),
        ("/api.test#x", None),
        ("http://api.test/x", None),
        ("*", None),
    ],
)
def test_where_a_request_wants_to_go(asked: str, expected: Target | None):
    assert rules.target("GET", asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("api.test:443", Target("CONNECT", "api.test", 443, "")),
        ("API.test:8443", Target("CONNECT", "api.test", 8443, "")),
        ("api.test", None),
        ("api.test:", None),
        ("api.test:https", None),
        ("[::1]:443", None),
        ("", None),
    ],
)
def test_where_a_tunnel_is_to_lead(asked: str, expected: Target | None):
    assert rules.tunnel(asked) == expected


@pytest.mark.parametrize(("port", "authority"), [(443, "api.test"), (8443, "api.test:8443")])
def test_the_upstream_is_told_that_it_was_asked_as(port: int, authority: str):
    assert Target("GET", "api.test", port, "/").authority == authority


def reason(wanted: Target, *listed: EgressRule) -> str:
    found = rules.find(listed, wanted)
    return found if isinstance(found, str) else ""


@pytest.mark.parametrize(
    ("pattern", "host", "reached"),
    [
        ("api.test", "api.test", True),
        ("api.test", "xapi.test", False),
        ("api.test", "api.test.evil", False),
        ("api.test", "", False),
        ("*.wild.test", "a.wild.test", True),
        ("*.wild.test", "wild.test", False),
        ("*.wild.test", "a.b.wild.test", False),
        ("*.wild.test", ".wild.test", False),
        ("a.*.wild.test", "a.b.wild.test", True),
        ("*.wild.test", "*.wild.test", True),
    ],
)
def test_a_wildcard_is_one_whole_label(pattern: str, host: str, *, reached: bool):
    why = reason(Target("GET", host, 443, "/v1/x"), rule(host=pattern))

    assert why == ("" if reached else "host-not-allowed")


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/v1/**", "/v1/a/b", True),
        ("/v1/**", "/v1/", True),
        ("/v1/**", "/v1", True),
        ("/v1/**", "/v10/a", False),
        ("/v1/**", "/v1/a?b=../c", True),
        ("/v1/*/x", "/v1/a/x", True),
        ("/v1/*/x", "/v1/a/b/x", False),
        ("/v1/*/x", "/v1//x", False),
        ("/v1/*", "/v1/", False),
        ("/v1", "/v1", True),
        ("/v1", "/v1/", False),
        ("/v1/", "/v1/", True),
        ("/", "/", True),
        ("/**", "/", True),
        ("/**", "/a/b", True),
        ("/**", "//a", False),
        ("/**", "/a/../b", False),
        ("/**", "/a/./b", False),
        ("/**", "/a/..;x/b", False),
        ("/**", "/a\\..\\b", False),
        ("/**", "/a%5C..%5cb", False),
    ],
)
def test_a_path_is_matched_by_whole_segments(pattern: str, path: str, *, allowed: bool):
    why = reason(Target("GET", "api.test", 443, path), rule(paths=[pattern]))

    assert why == ("" if allowed else "method-or-path-not-allowed")


def test_a_port_and_a_method_must_be_listed():
    listed = rule(ports=[443, 8443], methods=["GET", "POST"])

    assert reason(Target("POST", "api.test", 8443, "/v1/x"), listed) == ""
    assert reason(Target("POST", "api.test", 22, "/v1/x"), listed) == "host-not-allowed"
    refused = reason(Target("DELETE", "api.test", 443, "/v1/x"), listed)
    assert refused == "method-or-path-not-allowed"


def test_the_first_rule_that_allows_it_counts_and_without_rules_none_does():
    reading = rule(name="reading", paths=["/v2/**"])
    writing = rule(name="writing", methods=["POST"])
    both = rule(name="both", methods=["GET", "POST"])
    wanted = Target("POST", "api.test", 443, "/v1/x")

    assert rules.find([reading, writing, both], wanted) == writing
    assert rules.find([], wanted) == "host-not-allowed"


def test_a_rule_is_for_one_mode():
    """So that no limit on methods and paths is got around by a tunnel."""
    asking = rule()
    tunnelling = EgressRule.parse({"name": "code", "host": "code.test", "mode": "Connect"})
    listed = [asking, tunnelling]

    def tunnel(host: str, port: int = 443) -> EgressRule | str:
        return rules.find(listed, Target("CONNECT", host, port, ""), ("Intercept", "Connect"))

    assert rules.find(listed, Target("GET", "api.test", 443, "/v1/x")) == asking
    assert tunnel("code.test") == tunnelling
    assert tunnel("api.test") == "mode-not-allowed"
    assert rules.find(listed, Target("GET", "code.test", 443, "/")) == "mode-not-allowed"
    assert tunnel("code.test", 22) == "host-not-allowed"
    assert tunnel("other.test") == "host-not-allowed"


def test_a_tunnel_that_may_be_read_is_read():
    reading = rule(mode="Intercept")
    tunnelling = EgressRule.parse({"name": "wide", "host": "api.test", "mode": "Connect"})
    wanted = Target("CONNECT", "api.test", 443, "")

    assert rules.find([tunnelling, reading], wanted, ("Intercept", "Connect")) == reading
    assert rules.find([tunnelling], wanted, ("Intercept", "Connect")) == tunnelling


@pytest.mark.parametrize(
    ("authority", "path", "expected"),
    [
        ("api.test", "/v1", Target("GET", "api.test", 443, "/v1")),
        ("API.test:443", "/v1", Target("GET", "api.test", 443, "/v1")),
        ("api.test:8443", "/v1", rules.OTHER_HOST),
        ("other.test", "/v1", rules.OTHER_HOST),
        ("", "/v1", rules.OTHER_HOST),
        ("api.test", "*", rules.NO_HOST),
        ("[::1]", "/v1", rules.NO_HOST),
    ],
)
def test_what_is_asked_for_inside_of_a_tunnel(authority: str, path: str, expected: Target | str):
    assert rules.within("GET", authority, path, "api.test:443") == expected


def test_there_is_no_tunnel_inside_of_a_tunnel():
    assert rules.within("CONNECT", "api.test:443", "/", "api.test:443") == rules.OTHER_HOST
