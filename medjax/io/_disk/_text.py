"""Text in the headers of files that state no encoding."""

__all__ = ["header_text"]


def header_text(content: bytes) -> str:
    """Decodes header text: as UTF-8 where it is valid UTF-8, else each byte as one character.

    Example:
        >>> header_text("Schädel".encode()), header_text("Schädel".encode("latin-1"))
        ('Schädel', 'Schädel')
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
