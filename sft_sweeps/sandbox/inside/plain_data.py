"""Plain values between a strict run's checks and its candidate, as JSON can hold them."""

BITS = 4000  # of a number that JSON holds as it is: Python refuses to read more than 4,300 decimal digits
TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from typing import Any


def pack(value: "Any") -> "Any":
    """A value as JSON can hold it; TypeError for what is more than data. Subclasses pass as what they extend."""
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, int) and int(value).bit_length() > BITS:
            return {"int": hex(value)}
        plain: Any = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
        return value if plain is None or type(value) is plain else plain(value)
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [pack(item) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError(f"{type(value).__name__} is no plain value")


def unpack(value: "Any") -> "Any":
    """The value again."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {unpack(key): unpack(item) for key, item in content}
    if kind == "int":
        return int(content, 16)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](map(unpack, content))
