"""Imports as GraphQL asks for them."""

import base64

from backend.domain.imports import TARGETS
from tests.house import House
from tests.usecases.asking import SCHEMA, ask, data

HISTORY = """customer_code,order_date,units,net_amount_usd
C1,1997-01-01,2,29.33
C1,1997-01-18,-2,29.73
C2,1997-01-02,1,0
"""
IMPORT = """
mutation ($input: ImportOrdersInput!) {
  importOrders(input: $input) {
    __typename
    ... on OrdersImported {
      dryRun repeated rowsTotal ordersCreated rowsUnchanged rowsFailed customersCreated
      failedRows { rowNumber problems { code path message } }
      batch { id system fileName state finishedAt startedById }
    }
    ... on Refusal { problems { code path allowed message } }
  }
}
"""
UNDO = """
mutation ($id: ID!) {
  undoImport(batchId: $id) {
    __typename
    ... on ImportUndone {
      ordersDeleted customersDeleted kept { collection id reason }
      batch { state undoneAt customersCreated }
    }
    ... on Refusal { problems { code path } }
  }
}
"""
BATCHES = """
query ($first: Int!, $after: String) {
  importBatches(first: $first, after: $after) {
    totalCount pageInfo { hasNextPage hasPreviousPage endCursor }
    nodes { id rowsFailed failedRows(first: 5) { rowNumber problems { code } } }
  }
}
"""


def wanted(house: House, **more: object) -> dict[str, object]:
    fields = {
        "fileName": "history.csv",
        "system": "cdnow",
        "text": HISTORY,
        "currency": "USD",
        "kind": "CONSUMER",
        "territoryId": house.patches["north"],
    }
    return {name: value for name, value in (fields | more).items() if value is not None}


async def problems(house: House, who: str = "manager", **more: object) -> set[tuple[str, str]]:
    answer = (await data(house, who, IMPORT, input=wanted(house, **more)))["importOrders"]
    assert answer["__typename"] == "Refusal", answer
    return {(problem["code"], ".".join(problem["path"])) for problem in answer["problems"]}


async def test_a_file_is_taken_over_and_told_row_by_row(house: House) -> None:
    answer = (await data(house, "manager", IMPORT, input=wanted(house)))["importOrders"]
    batch = answer.pop("batch")
    assert answer == {
        "__typename": "OrdersImported", "dryRun": False, "repeated": False, "rowsTotal": 3, "ordersCreated": 2,
        "rowsUnchanged": 0, "rowsFailed": 1, "customersCreated": 2,
        "failedRows": [
            {
                "rowNumber": 3,
                "problems": [
                    {
                        "code": "OUT_OF_RANGE",
                        "path": ["units"],
                        "message": "Pieces is outside the possible range. Choose a value inside it."
                        " Possible: 0 – 1000000.",
                    }
                ],
            }
        ],
    }  # fmt: skip
    assert (batch["system"], batch["fileName"], batch["state"]) == ("cdnow", "history.csv", "DONE")
    assert batch["startedById"] == house.people["manager"].user_id
    again = (await data(house, "manager", IMPORT, input=wanted(house)))["importOrders"]
    assert (again["repeated"], again["ordersCreated"], again["batch"]["id"]) == (True, 2, batch["id"])


async def test_bytes_come_in_base64_and_columns_may_be_named(house: House) -> None:
    content = base64.b64encode(b"k,d,sum\nC1,1997-01-01,5\n").decode()
    pairs = [("customerCode", "k"), ("orderedOn", "d"), ("netAmount", "sum")]
    mapping = [{"target": target, "column": column} for target, column in pairs]
    fields = wanted(house, text=None, base64=content, map=mapping)
    answer = (await data(house, "manager", IMPORT, input=fields))["importOrders"]
    assert (answer["ordersCreated"], answer["rowsFailed"]) == (1, 0)


async def test_a_dry_run_has_no_batch(house: House) -> None:
    answer = (await data(house, "manager", IMPORT, input=wanted(house, dryRun=True)))["importOrders"]
    assert (answer["dryRun"], answer["batch"], answer["ordersCreated"], answer["rowsFailed"]) == (True, None, 2, 1)
    assert (await data(house, "manager", BATCHES, first=5))["importBatches"]["totalCount"] == 0


async def test_what_cannot_be_begun_is_a_refusal_with_all_its_problems(house: House) -> None:
    assert await problems(house, text="") == {("EMPTY_FILE", "content")}
    assert await problems(house, text=None) == {("REQUIRED", "content")}
    assert await problems(house, base64="YQ==") == {("REQUIRED", "content")}
    assert await problems(house, text=None, base64="?") == {("INVALID_VALUE", "base64")}
    latin = base64.b64encode("k,d\nZoë,1\n".encode("latin-1")).decode()
    assert await problems(house, text=None, base64=latin) == {("NOT_UTF8", "content.rows.1")}
    assert await problems(house, system="a b", currency=None, territoryId=house.people["wei"].user_id) == {
        ("INVALID_VALUE", "system"),
        ("REQUIRED", "currency"),
        ("NOT_FOUND", "territory"),
    }
    twice = [{"target": "units", "column": "units"}, {"target": "units", "column": "units"}]
    assert await problems(house, map=twice) == {("INVALID_VALUE", "map.units")}
    unknown = [{"target": "units", "column": "nope"}]
    assert await problems(house, map=unknown) == {("UNKNOWN_COLUMN", "map.units")}
    assert await problems(house, who="wei") == {("NOT_PERMITTED", "")}


async def test_a_refusal_tells_the_row_in_the_readers_words(house: House) -> None:
    latin = base64.b64encode("k,d\nZoë,1\n".encode("latin-1")).decode()
    fields = wanted(house, text=None, base64=latin)
    answer = await ask(house, "manager", IMPORT, locale="zh-CN", input=fields)
    [problem] = answer["data"]["importOrders"]["problems"]
    assert problem["message"] == "“文件 › 行 2”不是 UTF-8 文本。请将文件另存为 UTF-8 后重新上传。"


async def test_an_import_is_taken_back_by_its_id(house: House) -> None:
    done = (await data(house, "manager", IMPORT, input=wanted(house)))["importOrders"]
    undone = (await data(house, "manager", UNDO, id=done["batch"]["id"]))["undoImport"]
    assert undone == {
        "__typename": "ImportUndone", "ordersDeleted": 2, "customersDeleted": 2, "kept": [],
        "batch": {"state": "UNDONE", "undoneAt": "2026-11-22T04:00:00.000Z", "customersCreated": 0},
    }  # fmt: skip
    for unknown in (str(house.people["wei"].user_id), "no id"):
        refusal = (await data(house, "manager", UNDO, id=unknown))["undoImport"]
        assert refusal["problems"] == [{"code": "NOT_FOUND", "path": ["batchId"]}]


async def test_imports_are_paged_the_latest_first(house: House) -> None:
    ids = []
    for system in ("one", "two", "three"):
        done = (await data(house, "manager", IMPORT, input=wanted(house, system=system)))["importOrders"]
        ids.insert(0, done["batch"]["id"])
        house.now_ms += 1_000
    first = (await data(house, "manager", BATCHES, first=2))["importBatches"]
    assert [node["id"] for node in first["nodes"]] == ids[:2]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (3, True)
    assert first["nodes"][0]["failedRows"] == [{"rowNumber": 3, "problems": [{"code": "OUT_OF_RANGE"}]}]
    rest = (await data(house, "manager", BATCHES, first=2, after=first["pageInfo"]["endCursor"]))["importBatches"]
    assert [node["id"] for node in rest["nodes"]] == ids[2:]
    assert (rest["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasPreviousPage"]) == (False, True)


async def test_imports_of_others_and_broken_cursors_are_refused(house: House) -> None:
    done = (await data(house, "admin", IMPORT, input=wanted(house)))["importOrders"]
    one = "query ($id: ID!) { importBatch(id: $id) { id } }"
    batch_id = done["batch"]["id"]
    assert (await data(house, "admin", one, id=batch_id))["importBatch"] == {"id": batch_id}
    for who, asked in (("manager", batch_id), ("wei", batch_id), ("admin", "no id")):
        assert (await data(house, who, one, id=asked))["importBatch"] is None
    for variables, code in (
        ({"first": 5, "after": "x"}, "CURSOR_INVALID"),
        ({"first": 5, "after": "é"}, "CURSOR_INVALID"),
        ({"first": 5_000}, "OUT_OF_RANGE"),
    ):
        answer = await ask(house, "admin", BATCHES, **variables)
        assert answer["errors"][0]["extensions"]["code"] == code
    answer = await ask(house, "wei", BATCHES, first=5)
    assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"


def test_the_schema_names_every_target_of_a_mapping() -> None:
    text = SCHEMA.as_str()
    assert f"One of {', '.join(TARGETS)}." in text
