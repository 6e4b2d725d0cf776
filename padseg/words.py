"""Numbers in sentences."""


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 image`, `2 images`.

    Args:
        number: How many.
        noun: The noun for one.
        plural: The noun for several; None to add an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
