"""What documents made to hurt cost until they are refused, in CPU time of this process."""

import gc
import sys
from time import process_time

from backend.config import Settings
from backend.schema.http import make_documents
from backend.schema.root import build_schema

ROUNDS = 5
LIMIT_MS = 50


def fan(levels: int) -> str:
    inner = "{ id }"
    for level in range(levels):
        inner = f"{{ nodes {{ {'contacts' if level % 2 else 'customer'} {inner} }} }}"
    return f"{{ customers(first: 50) {inner} }}"


def documents() -> dict[str, str]:
    doubling = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ... {{ ...F{n + 1} }} }}" for n in range(25))
    types = "types { name fields { name args { name type { name } } } }"
    return {
        "2^25 fragments": f"{{ ...F0 }} {doubling} fragment F25 on Query {{ __typename }}",
        "depth-20 fan-out": fan(10),
        "60,000 duplicate fields": "{ me { " + "name " * 60_000 + "} }",
        "3,900 duplicate fields": "{ me { " + "name " * 3_900 + "} }",
        "10,000 operations": " ".join(f"query Q{n} {{ __typename }}" for n in range(10_000)),
        "790 operations": " ".join(f"query Q{n} {{ __typename }}" for n in range(790)),
        "1,000 aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(1_000)) + " }",
        "8,000 directives": "{ __typename " + "@a " * 8_000 + "}",
        "1,900 directives": "{ __typename " + "@a " * 1_900 + "}",
        "3,900 values": "{ node(id: [" + "1 " * 3_900 + "]) { id } }",
        "lists 3,900 deep": "{ node(id: " + "[" * 3_900,
        "cyclic fragments": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "introspection bomb": "{ __schema { " + " ".join(f"t{n}: {types}" for n in range(90)) + " } }",
        "1,900 unknown fields": "{ me { " + " ".join(f"name{n}" for n in range(1_900)) + " } }",
        "990 variables": "query (" + " ".join(f"$a{n}: Int" for n in range(990)) + ") { __typename }",
        # as much of each as is still parsed
        "990 unknown fields": "{ me { " + " ".join(f"name{n}" for n in range(990)) + " } }",
        "660 of them with a value": "{ me { " + " ".join(f"n{n}(a:1)" for n in range(660)) + " } }",
        "490 unused variables": "query (" + " ".join(f"$a{n}: Int" for n in range(490)) + ") { __typename }",
        "400 aliases": "{ me { " + " ".join(f"a{n}: name" for n in range(400)) + " } }",
        "400 unknown directives": "{ me { " + " ".join(f"n{n} @a(b: 1)" for n in range(400)) + " } }",
        "1,900 values": "{ me { name(a: [" + "1 " * 1_900 + "]) } }",
        "3,000,000 characters": '{ node(id: "' + "x" * 3_000_000 + '") { id } }',
    }


def main() -> None:
    schema, settings = build_schema(), Settings()
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"{'document':<26}{'characters':>11}{'best ms':>9}{'worst ms':>9}  refused for\n")
    for name, text in documents().items():
        spent = []
        for _ in range(ROUNDS):
            kept, _limits = make_documents(schema, settings)
            began = process_time()
            prepared = kept.prepare(text)
            spent.append((process_time() - began) * 1_000)
        said = prepared.errors[0].original_error or prepared.errors[0].message if prepared.errors else "NOT REFUSED"
        measures = [str(p.params.get("measure")) for p in getattr(said, "problems", ())] or [str(said)[:50]]
        over = "" if min(spent) < LIMIT_MS else f"  OVER {LIMIT_MS} ms"
        line = f"{name:<26}{len(text):>11,}{min(spent):>9.1f}{max(spent):>9.1f}  {', '.join(measures)}{over}\n"
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
