"""Kubernetes quantities, in the narrow form that the API admits."""

UNITS = {"Mi": 2**20, "Gi": 2**30}


def millicores(cpu: str) -> int:
    """'500m' is 500, '2' is 2000. Raises ValueError."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1_000


def number_of_bytes(memory: str) -> int:
    """'512Mi' and '1Gi' in bytes. Raises KeyError or ValueError."""
    return int(memory[:-2]) * UNITS[memory[-2:]]


def mebibytes(memory: str) -> int:
    """'1Gi' is 1024. Raises KeyError or ValueError."""
    return number_of_bytes(memory) // UNITS["Mi"]
