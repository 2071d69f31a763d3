"""Digests: equal values have equal ones, others do not."""

from hypothesis import given
from hypothesis import strategies as st

from anchorhold.policy import digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_text_has_the_digest_that_sha256sum_prints():
    assert digest.of_text("abc") == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_lone_surrogate_has_a_digest_too():
    assert digest.of_text("\ud800") == digest.of_text("?")


def test_canonical_json_is_sorted_dense_and_ascii():
    assert digest.canonical({"b": [1, None], "a": "ö"}) == '{"a":"\\u00f6","b":[1,null]}'


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]):
    turned = dict(reversed(value.items()))

    assert digest.of_value(turned) == digest.of_value(value)


@given(JSON, JSON)
def test_other_values_have_another_digest(one: object, other: object):
    same_text = digest.canonical(one) == digest.canonical(other)

    assert (digest.of_value(one) == digest.of_value(other)) == same_text


def test_the_digest_of_a_config_map_is_of_its_content_alone():
    bare = {"data": {"a": "1"}}
    dressed = {"data": {"a": "1"}, "metadata": {"name": "x"}, "immutable": True, "binaryData": None}

    assert digest.of_config_map(dressed) == digest.of_config_map(bare)


def test_text_and_binary_data_of_a_config_map_are_not_confused():
    text, binary = {"data": {"a": "MQ=="}}, {"binaryData": {"a": "MQ=="}}

    assert digest.of_config_map(text) != digest.of_config_map(binary)


def test_a_config_map_has_the_digest_of_the_folder_that_it_is_mounted_as():
    document = {"data": {"a": "1"}, "binaryData": {"b": "/w=="}}

    assert digest.of_config_map(document) == digest.of_files({"a": b"1", "b": b"\xff"})
