"""What a run shows at the gateway, and which gateway that is."""

from collections import Counter
from urllib.parse import quote

import pytest

from anchorhold.policy import identity, window

KEY, OTHER = b"key", b"other"
UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
TOKEN = identity.token(KEY, UID)


def test_a_token_names_its_run_and_repeats():
    assert identity.token(KEY, UID) == TOKEN
    assert identity.owner(TOKEN, [KEY]) == UID


def test_while_a_key_is_replaced_both_count():
    assert identity.owner(TOKEN, [OTHER, KEY]) == UID
    assert identity.owner(TOKEN, [OTHER]) is None
    assert identity.owner(TOKEN, []) is None


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param("", id="nothing"),
        pytest.param("ah1", id="a prefix"),
        pytest.param(f"ah1.{UID}", id="no code"),
        pytest.param(f"ah1.{UID}.", id="an empty code"),
        pytest.param(f"ah1..{TOKEN[-43:]}", id="no uid"),
        pytest.param(TOKEN[:-1], id="a part"),
        pytest.param(f"{TOKEN}x", id="more"),
        pytest.param(f"ah2{TOKEN[3:]}", id="another prefix"),
        pytest.param(TOKEN.replace("1b4e", "2b4e"), id="the code of another run"),
        pytest.param(f"ah1.{UID}.ö", id="no ASCII"),
        pytest.param(identity.token(KEY, "u" * 200), id="too much"),
    ],
)
def test_it_is_nobody_s_that_is(shown: str):
    assert identity.owner(shown, [KEY]) is None


def test_runs_are_spread_over_the_gateways_and_stay():
    found = Counter(window.gateway_of(f"{UID}{number}", 3) for number in range(300))

    assert set(found) == {"gateway-0", "gateway-1", "gateway-2"}
    assert min(found.values()) > 60
    assert window.gateway_of(UID, 3) == window.gateway_of(UID, 3)


def test_a_token_fits_into_a_url_as_it_is():
    """`HTTPS_PROXY` has it before the host's name, where '%' and '@' mean something."""
    assert quote(TOKEN, safe="") == TOKEN
