"""`slarag calibrate`"""


def calibrate() -> None:
    """Calibrate."""
