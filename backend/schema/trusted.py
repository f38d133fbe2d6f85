"""Trusted documents: the operations apps were built with, known by the SHA-256 of their text.

An app sends the hash in place of the text. A server may be told to take nothing else of some kinds of principals,
which then cannot ask what nobody has looked at. Source: GraphQL over HTTP, appendix on persisted documents.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphql import GraphQLSyntaxError, OperationDefinitionNode, parse

from backend.config import PREFIX, Settings
from backend.errors import BadSetting, Refused
from backend.schema.execute import Documents, document_hash

OPERATIONS_DIR = Path(__file__).resolve().parents[2] / "mobile_contract" / "operations"
MANIFEST = "manifest.json"
SUFFIX = ".graphql"


@dataclass(frozen=True, slots=True)
class Operation:
    """A document of one operation, as it lies in its file."""

    file: str
    text: str
    name: str
    kind: str

    @property
    def sha256(self) -> str:
        return document_hash(self.text)


def read_operations(folder: Path = OPERATIONS_DIR) -> list[Operation]:
    """The documents of a folder, by the names of their files; raises `BadSetting` naming a file that is none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
        return [_operation(path) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{folder}: {error}") from None


def _operation(path: Path) -> Operation:
    text = path.read_text("utf-8")
    try:
        definitions = parse(text, no_location=True).definitions
    except GraphQLSyntaxError as error:
        raise BadSetting(f"{path}: {error.message}") from None
    found = [each for each in definitions if isinstance(each, OperationDefinitionNode)]
    if len(found) != 1 or found[0].name is None:
        raise BadSetting(f"{path}: wanted: one operation, with a name")
    return Operation(path.name, text, found[0].name.value, found[0].operation.value)


def manifest_text(folder: Path = OPERATIONS_DIR) -> str:
    """What an app or a gateway is built with: each file with its operation and its hash."""
    operations: Mapping[str, object] = {
        each.file: {"kind": each.kind, "operation": each.name, "sha256": each.sha256}
        for each in read_operations(folder)
    }
    return json.dumps(operations, indent=1, sort_keys=True) + "\n"


def trust_operations(documents: Documents, settings: Settings) -> None:
    """Let the contract's operations, and those of the folder of the settings, be asked for by their hashes.

    Raises `BadSetting` naming each file that the schema does not answer. One that asks for more than the limits
    allow is refused when it is asked for, as any other document is.
    """
    operations = read_operations()
    if settings.trusted_documents_dir is not None:
        operations += read_operations(settings.trusted_documents_dir)
    wrong = [
        f"{operation.file}: {error.message}"
        for operation in operations
        for error in documents.trust(operation.text).errors
        if not isinstance(error.original_error, Refused)
    ]
    if wrong:
        raise BadSetting("\n".join([f"{PREFIX}TRUSTED_DOCUMENTS_DIR: documents the schema does not answer:", *wrong]))
