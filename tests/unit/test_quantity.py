"""Quantities, in the narrow form that the API admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorhold.policy import quantity


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        pytest.param("1m", 1, id="the least"),
        pytest.param("500m", 500, id="millicores are themselves"),
        pytest.param("2", 2_000, id="a core is a thousand"),
        pytest.param("99999m", 99_999, id="the most millicores"),
        pytest.param("999", 999_000, id="the most cores"),
    ],
)
def test_cpu_is_counted_in_millicores(cpu: str, expected: int):
    assert quantity.millicores(cpu) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param("1Mi", 1_048_576, id="a mebibyte"),
        pytest.param("1Gi", 1_073_741_824, id="a gibibyte"),
        pytest.param("999999Gi", 999_999 * 2**30, id="the most"),
    ],
)
def test_memory_is_counted_in_bytes(memory: str, expected: int):
    assert quantity.number_of_bytes(memory) == expected


@pytest.mark.parametrize("memory", ["1Ki", "1G", "1M"])
def test_memory_in_an_unknown_unit_is_an_error(memory: str):
    with pytest.raises((KeyError, ValueError)):
        quantity.number_of_bytes(memory)


@pytest.mark.parametrize("cpu", ["0.5", "", "m", "1k"])
def test_cpu_in_another_form_is_an_error(cpu: str):
    with pytest.raises(ValueError, match="invalid literal"):
        quantity.millicores(cpu)


@given(st.integers(1, 999_999))
def test_a_gibibyte_is_1024_mebibytes(number: int):
    assert quantity.mebibytes(f"{number}Gi") == 1_024 * quantity.mebibytes(f"{number}Mi")


@given(st.integers(1, 99), st.integers(1, 99_999))
def test_cores_and_millicores_compare_as_numbers(cores: int, millicores: int):
    larger = quantity.millicores(f"{cores}") > quantity.millicores(f"{millicores}m")

    assert larger == (cores * 1_000 > millicores)
