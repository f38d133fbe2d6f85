"""Requests nobody thought of at the doors beside ordinary documents: bulk, turbo, files, hashes, cursors, keys.

Bare bytes, so that nothing on this side makes them well-formed. The same seed draws the same requests.
"""

import json
import random
from collections.abc import Iterator, Sequence

from tests.schema.test_rxdb import PUSH as RX_PUSH
from tests.schema.test_watermelon import PUSH as WM_PUSH

ODD = (
    "", "0", "-1", "null", "NaN", "9" * 30, "9" * 400, "x" * 3_000, "%00", "%ff%fe", "%F0%9F%91%97",
    "..%2f..%2fetc%2fpasswd", "a/b/c", "//", "%0d%0aX: y", "01900000-0000-7000-8000-000000000000",
    "FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF", "*",
    "customers/x/y", "%27%20OR%201=1--", "true", "1e9", "%u0000", "&", "=", "a&a=b",
)  # fmt: skip
RANGES = (
    "bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-0,5-9", "bytes=999999999999999-", "bytes=-", "bytes", "items=0-5",
    "bytes=0-" + "9" * 40, "bytes=\xb2-\xb3", "bytes = 0 - 5", "",
)  # fmt: skip
CONTENT_RANGES = (
    "bytes 0-4/5", "bytes 0-99/5", "bytes 5-0/9", "bytes */5", "bytes */*", "bytes 0-4/*", "bytes 0-4/999999999999999",
    "bytes 999999999999998-999999999999999/999999999999999", "bytes -1-4/5", "items 0-4/5", "", "bytes \xb2-4/5",
    "bytes 0-4/" + "9" * 40,
)  # fmt: skip
HEADERS = (
    "Accept-Encoding: zstd;q=0, gzip;q=nan, *;q=2", "Accept-Encoding: " + "gzip," * 400, "Accept: */*;q=x",
    "If-None-Match: \"x\", W/\"y\", *", "If-Range: Thu, 01 Jan 1970 00:00:00 GMT", "X-Request-Id: \xe9\xff",
    "Content-Encoding: gzip", "Expect: 100-continue", "Accept-Language: " + "ko;q=0.5," * 200, "X-Client-Name: \x7f",
    "Origin: http://[", "X-Forwarded-For: 1.1.1.1, ::::", "X-HTTP-Method-Override: DELETE", "Content-Type: \xff/\xfe",
)  # fmt: skip
STATES: tuple[object, ...] = (
    None, {}, [], "x", {"id": "x"}, {"id": None, "_deleted": True}, {"id": "01900000-0000-7000-8000-000000000000"},
    {"id": "01900000-0000-7000-8000-000000000001", "nameEn": 5, "custom": [1]}, {"id": {"id": {}}},
    {"id": "01900000-0000-7000-8000-000000000002", "nameEn": "\x00\ud7ff", "_status": "created", "_changed": 7},
    {"id": "01900000-0000-7000-8000-000000000003", "nameEn": "x", "rev": 10**30, "_deleted": "no"},
)  # fmt: skip
FILES: tuple[dict[str, object], ...] = (
    {"text": ""}, {"text": "a,b\n1"}, {"text": '"' * 999}, {"text": "\x00,\n" * 50}, {"base64": "UEsDBA=="},
    {"base64": "%"},
    {"text": "a" * 60_000}, {"text": "order,date\n1,2026-02-30\n", "map": []}, {}, {"text": "a", "base64": "YQ=="},
    {"text": "a,b\n1,2", "currency": "ZZZ", "territoryId": "x", "kind": "CONSUMER"},
)  # fmt: skip
METHODS = ("GET", "GET", "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
PLACES = ("bulk", "turbo", "file", "preview", "metrics", "jwks", "hash", "hash in a query", "pull", "nodes",
          "rxdb", "watermelon", "import")  # fmt: skip


def draw_requests(
    count: int, seed_number: int, token: str, importer: str, ids: Sequence[str], cursors: Sequence[str]
) -> Iterator[bytes]:
    """So many requests to each door in turn. `ids` are of files there are, `cursors` were given by the server.
    `token` is a rep's, `importer` of somebody who may import."""
    dice = random.Random(seed_number)
    for number in range(count):
        place = PLACES[number % len(PLACES)]
        yield _request(place, dice, importer if place == "import" else token, ids, cursors)


def _request(place: str, dice: random.Random, token: str, ids: Sequence[str], cursors: Sequence[str]) -> bytes:
    method, body, lines = dice.choice(METHODS), b"", list[str]()
    cursor = flipped(dice.choice(cursors), dice)
    match place:
        case "bulk":
            path = "/sync/bulk" + _query(dice, {"cursor": cursor, "after": None, "schemaVersion": "1"})
        case "turbo":
            path = "/sync/turbo" + _query(dice, {"lastPulledAt": "0", "schemaVersion": "2", "tables": "customers"})
        case "file" | "preview":
            known = dice.choice(ids) if dice.random() < 0.7 else dice.choice(ODD)
            path = f"/files/{known}" + ("/preview" if place == "preview" else "")
            if method in ("PUT", "POST", "PATCH"):
                body = dice.choice((b"", b"12345", b"%PDF-" + b"\x00" * 2_000, b"\xff\xd8\xff" + b"x" * 70_000))
                lines.append(f"Content-Range: {dice.choice(CONTENT_RANGES)}")
            lines.append(f"Range: {dice.choice(RANGES)}")
        case "metrics":
            path = "/metrics" + _query(dice, {"name[]": "x"})
        case "jwks":
            path = "/.well-known/jwks.json" + _query(dice, {"kid": "x"})
        case "hash in a query":
            path = "/graphql" + _query(
                dice, {"documentId": "sha256:" + "0" * 64, "extensions": "%7B%7D", "variables": "%7B"}
            )
        case _:
            method, path = "POST", dice.choice(("/graphql", "/graphql", "/graphql/stream"))
            body = json.dumps(_asked(place, dice, cursor)).encode()
            lines.append("Content-Type: application/json")
    if dice.random() < 0.8:
        lines.append(f"Authorization: Bearer {token if dice.random() < 0.85 else flipped(token, dice)}")
    lines += dice.sample(HEADERS, dice.randrange(3))
    stated = dice.choice((len(body), len(body), len(body), len(body) + 1, 0, -1)) if body else len(body)
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {stated}", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _query(dice: random.Random, usual: dict[str, str | None]) -> str:
    given = []
    for name, value in usual.items():
        if dice.random() < 0.6:
            given.append(f"{name}={value if value is not None and dice.random() < 0.5 else dice.choice(ODD)}")
    if dice.random() < 0.2:
        given.append(f"{dice.choice(ODD)}={dice.choice(ODD)}")
    return ("?" + "&".join(given)).replace(" ", "%20") if given else ""


def _asked(place: str, dice: random.Random, cursor: str) -> dict[str, object]:
    if place == "pull":
        text = "query ($c: String, $l: Int) { syncPull(cursor: $c, limit: $l) { ... on SyncPage { cursor } } }"
        return {"query": text, "variables": {"c": cursor, "l": dice.choice((1, 50, 0, -1, 10**9))}}
    if place == "nodes":
        text = "query ($c: String) { customers(first: 2, after: $c) { nodes { id } pageInfo { endCursor } } }"
        return {"query": text, "variables": {"c": cursor}}
    if place == "rxdb":
        row = {"newDocumentState": dice.choice(STATES), "assumedMasterState": dice.choice(STATES)}
        return {"query": RX_PUSH, "variables": {"contactsPushRow": dice.choice(([row], [row] * 300, row, None, [5]))}}
    if place == "watermelon":
        table = {
            kind: dice.choice(([], [dice.choice(STATES)], None, "x")) for kind in ("created", "updated", "deleted")
        }
        changes: object = dice.choice(
            ({"contacts": table}, {"customers": table, "nobody": table}, table, [], None, "x")
        )
        return {"query": WM_PUSH, "variables": {"changes": changes, "at": dice.choice((0, -1, 1e300, None, 10**15))}}
    if place == "import":
        input = {"fileName": dice.choice(ODD), "system": dice.choice(("erp", "", "x" * 500)), **dice.choice(FILES)}
        text = "mutation ($i: ImportOrdersInput!) { importOrders(input: $i) { __typename } }"
        return {"query": text, "variables": {"i": input}}
    odd: tuple[object, ...] = (
        None, 5, True, "", "0" * 64, "0" * 63, "G" * 64, "sha256:", "sha256:" + "0" * 64, "md5:x", "\x00", "\u202e",
        [], {}, ["0" * 64], "x" * 5_000, 1e300,
    )  # fmt: skip
    asked: dict[str, object] = {}
    if dice.random() < 0.5:
        asked["documentId"] = dice.choice(odd)
    if dice.random() < 0.7:
        persisted = {"version": dice.choice((1, 2, None, "1", -1)), "sha256Hash": dice.choice(odd)}
        asked["extensions"] = dice.choice(
            ({"persistedQuery": persisted}, {"persistedQuery": dice.choice(odd)}, dice.choice(odd))
        )
    if dice.random() < 0.4:
        asked["query"] = dice.choice(("{ __typename }", "", None, 5, "{", "\ufeff{ __typename }"))
    if dice.random() < 0.3:
        asked["operationName"] = dice.choice(odd)
    return asked


def flipped(text: str, dice: random.Random) -> str:
    """With a few characters changed, cut, doubled; now and then as it is."""
    for _ in range(dice.randrange(4)):
        place = dice.randrange(len(text) + 1)
        match dice.randrange(4):
            case 0:
                text = text[:place] + dice.choice("AZaz09-_=.~!") + text[place + 1 :]
            case 1:
                text = text[:place]
            case 2:
                text = text[:place] + text[place:] * 2
            case _:
                text = text[place:] + text[:place]
        text = text[:4_000]
    return text
