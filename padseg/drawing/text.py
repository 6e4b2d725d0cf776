"""Text on pictures: scores, and lines that fit their width."""

import unicodedata

from PIL import ImageDraw, ImageFont

_SMALLEST = 11  # pixels; smaller letters are illegible
_DIGITS = (4, 6, 9)  # nine tell any two float32 numbers apart


def score_text(score: float, digits: int = 4) -> str:
    """A score with significant digits: 0.5000, 0.002134, 1.234e-05."""
    return f"{score:#.{digits}g}"


def comparison(score: float, threshold: float) -> str:
    """`0.8312 > 0.5000`, with as many digits as it takes to tell the two apart."""
    for digits in _DIGITS:
        sides = score_text(score, digits), score_text(threshold, digits)
        if sides[0] != sides[1] or score == threshold:
            break
    return f"{sides[0]} {'>' if score > threshold else '<='} {sides[1]}"


def score_words(raw: float, normalised: float | None, threshold: float = 0.5) -> str:
    """The score beside its threshold; where there is no normalised score, the raw one alone."""
    return score_text(raw) if normalised is None else comparison(normalised, threshold)


def verdict_text(anomalous: bool | None) -> str:
    """The verdict on an image; None without a threshold."""
    if anomalous is None:
        return "NO THRESHOLD"
    return "ANOMALOUS" if anomalous else "NORMAL"


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    colour: str,
    width: int,
) -> int:
    """Write a line of text no wider than `width`, smaller or cut short if it must be.

    Args:
        draw: The picture.
        at: Left end of the line, at half its height.
        text: The line; letters that Pillow's font lacks lose their accents or become question marks.
        size: Size of the font, in pixels.
        colour: Colour of the text.
        width: Room for the line.

    Returns:
        The width of the written text.
    """
    text = _plain(text)
    font = ImageFont.load_default(size)
    while font.getlength(text) > width and size > _SMALLEST:
        size -= 1
        font = ImageFont.load_default(size)
    while font.getlength(text) > width and len(text) > 4:
        text = text[: -len("....")] + "..."
    draw.text(at, text, colour, font, anchor="lm")
    return round(font.getlength(text))


def _plain(text: str) -> str:
    # Pillow's font has only ASCII.
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.replace("ß", "ss").encode("ascii", "replace").decode()
