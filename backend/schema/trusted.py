"""Trusted documents: the operations apps were built with, known by the SHA-256 of their text.

An app sends the hash in place of the text. A server may be told to take nothing else of some kinds of principals,
which then cannot ask what nobody has looked at. Source: GraphQL over HTTP, appendix on persisted documents.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import strawberry
from graphql import GraphQLSyntaxError, OperationDefinitionNode, parse

from backend.config import Settings
from backend.errors import BadSetting
from backend.schema.execute import Documents, document_hash
from backend.schema.http import make_documents

OPERATIONS_DIR = Path(__file__).resolve().parents[2] / "mobile_contract" / "operations"
MANIFEST = "manifest.json"
SUFFIX = ".graphql"


@dataclass(frozen=True, slots=True)
class Operation:
    """A document as it lies in its file."""

    path: Path
    text: str

    @property
    def sha256(self) -> str:
        return document_hash(self.text)


def read_operations(folder: Path = OPERATIONS_DIR) -> list[Operation]:
    """The documents of a folder, by the names of their files; raises `BadSetting` for what cannot be read."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
        # as the bytes are: read as text, line ends of another system would have another hash
        return [Operation(path, path.read_bytes().decode("utf-8")) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{folder}: {error}") from None


def manifest_text(folder: Path = OPERATIONS_DIR) -> str:
    """What an app or a gateway is built with: each file with its operation and its hash. Raises `BadSetting`."""
    entries: dict[str, object] = {}
    for operation in read_operations(folder):
        node = _operation_of(operation)
        assert node.name is not None
        kind, name = node.operation.value, node.name.value
        entries[operation.path.name] = {"kind": kind, "operation": name, "sha256": operation.sha256}
    return json.dumps(entries, indent=1, sort_keys=True) + "\n"


def _operation_of(operation: Operation) -> OperationDefinitionNode:
    try:
        definitions = parse(operation.text, no_location=True).definitions
    except GraphQLSyntaxError as error:
        raise BadSetting(f"{operation.path}: {error.message}") from None
    found = [each for each in definitions if isinstance(each, OperationDefinitionNode)]
    if len(found) != 1 or found[0].name is None:
        raise BadSetting(f"{operation.path}: wanted: one operation, with a name")
    return found[0]


def trust_operations(documents: Documents, settings: Settings) -> list[Operation]:
    """Let the contract's operations, and those of the folder of the settings, be asked for by their hashes.

    Raises `BadSetting` when a folder cannot be read.
    """
    operations = read_operations()
    if settings.trusted_documents_dir is not None:
        operations += read_operations(settings.trusted_documents_dir)
    for operation in operations:
        documents.trust(operation.text)
    return operations


def check_operations(schema: strawberry.Schema, settings: Settings) -> None:
    """Before a server starts: raises `BadSetting` naming each file that the schema does not answer.

    One that asks for more than the limits of the settings allow counts as such.
    """
    documents, _ = make_documents(schema, settings)
    wrong = []
    for operation in trust_operations(documents, settings):
        _operation_of(operation)
        found = documents.trusted(operation.sha256)
        wrong += [f"{operation.path}: {error.message}" for error in (found.errors if found else ())]
    if wrong:
        raise BadSetting("\n".join(["trusted documents that cannot be answered:", *wrong]))
