"""Durations for people."""


def clock(seconds: float) -> str:
    """`45 s`, `7:05`, `1:07:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
