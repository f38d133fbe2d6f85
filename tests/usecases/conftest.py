"""A served desk with files, for use cases that reach them."""

from tests.files.conftest import desk, file_settings

__all__ = ["desk", "file_settings"]
