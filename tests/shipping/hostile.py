"""A shipped result, and names that no class should have."""

from pathlib import Path

DIGITS = Path(__file__).parents[2] / "tflite_models" / "digits_cnn_int8"
HOSTILE = (
    "quote \" ' ` end",
    "${1 + 1} \\(x) #{y} %s {{ z }}",
    "<script>alert(1)</script>",
    "\U0001f600 \u202eright to left\u202c \u2028",
    "two\nlines\r\nand\ttabs",
    "*/ // -- ?? ??/ \\",
    "",
    "x" * 10_000,
    "\x00\x07\x1b[31m",
    "ends with a backslash \\",
)
