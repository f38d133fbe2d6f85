"""Finding and ordering names in three scripts."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.names import (
    CLUSTERS,
    display_name,
    hangul_initials,
    matches,
    query_keys,
    search_keys,
    sort_key,
)

WANG_WEI = search_keys({"zh": "王伟", "en": "Wang Wei"}, code="SH-0123", phones=["+8613800138000"])
KIM_MINSU = search_keys({"ko": "김민수", "en": "Kim Minsu"}, phones=["+821012345678"])


def found(keys: str, query: str) -> bool:
    return matches(keys, query_keys(query))


@pytest.mark.parametrize("query", ["ww", "WW", "wangwei", "Wang Wei", "wei wang", "ｗａｎｇ", "wan", "", "sh0123"])
@pytest.mark.parametrize("second", ["", "王伟", "王偉", "偉", "伟", "SH-0123", "138-0013-8000", "(138)0013.8000"])
def test_wang_wei_is_found_by_whatever_a_rep_types(query: str, second: str) -> None:
    assert found(WANG_WEI, f"{query} {second}")


@pytest.mark.parametrize("query", ["wwx", "li", "王玮", "ㄱㅁㅅ", "139", "wang li"])
def test_wang_wei_is_not_found_by_other_names(query: str) -> None:
    assert not found(WANG_WEI, query)


@pytest.mark.parametrize(
    "query",
    ["ㄱㅁㅅ", "ㄱㅁ", "ㅁㅅ", "김민수", "민수", "김 민수", "minsu", "010-1234-5678", "+82 10 1234 5678"],
)
def test_kim_minsu_is_found_by_initials_and_both_ways_of_dialling(query: str) -> None:
    assert found(KIM_MINSU, query)


def test_initials_that_a_keyboard_joined_are_taken_apart() -> None:
    keys = search_keys({"ko": "강산"})
    assert found(keys, "ㄱㅅ")
    assert found(keys, "ㄳ")
    for joined, apart in CLUSTERS.items():
        assert query_keys(joined) == query_keys(apart)


def test_a_traditional_name_is_found_by_simplified_characters_and_pinyin() -> None:
    keys = search_keys({"zh": "長沙華聯百貨"})
    for query in ("长沙", "長沙", "华联百货", "changsha", "cshlbh", "hualian"):
        assert found(keys, query), query


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("单雄信", ["shanxiongxin", "danxiongxin", "sxx"]),
        ("曾志伟", ["zengzhiwei", "zzw"]),
        ("解晓东", ["xiexiaodong", "jiexiaodong"]),
        ("仇英", ["qiuying"]),
        ("查良镛", ["zhaliangyong"]),
        ("區志強", ["ouzhiqiang", "区志强"]),
        ("万俟卨", ["moqixie"]),
        ("尉迟恭", ["yuchigong"]),
        ("欧阳静", ["ouyangjing", "oyj"]),
        ("吕丽", ["lvli", "luli", "lyuli", "ll"]),
        ("重庆百货", ["chongqingbaihuo"]),
    ],
)
def test_family_names_are_found_under_their_reading_as_a_name(name: str, readings: list[str]) -> None:
    keys = search_keys({"zh": name})
    for reading in readings:
        assert found(keys, reading), reading


def test_latin_names_are_found_with_and_without_accents_and_marks() -> None:
    keys = search_keys({"en": "Café Levi's & Søn"})
    for query in ("cafe", "café", "levis", "levi's", "son", "CAFELEVIS", "cls", "&"):
        assert found(keys, query), query


def test_keys_are_already_folded_so_a_phone_only_folds_the_query() -> None:
    for keys in (WANG_WEI, KIM_MINSU):
        assert keys == unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", keys).lower())
        assert len(set(keys.split(" "))) == len(keys.split(" "))
    assert search_keys({}) == ""


def test_initials_are_computed_for_every_syllable() -> None:
    assert hangul_initials("가힣 까A나") == "".join(unicodedata.normalize("NFKC", c) for c in "ㄱㅎㄲㄴ")


def in_order(*names: str, person: bool = False) -> None:
    keys = [sort_key({"zh": name}, person=person) for name in names]
    assert keys == sorted(keys), list(zip(names, keys, strict=True))
    assert len(set(keys)) == len(keys)


def test_chinese_sorts_by_pinyin_and_tone_among_latin_names() -> None:
    in_order("阿里", "Adidas", "北辰百货", "Beta", "李娜", "万宁", "汪伟", "王伟", "王玮", "Wangxi", "Zara", "张伟")
    in_order("万宁", "王伟")


def test_korean_sorts_in_its_own_order_after_latin_and_chinese() -> None:
    in_order("张伟", "Zzz", "가나", "김민수", "까치", "나라", "박서연", "이도윤", "하나")


def test_a_person_is_sorted_under_the_family_reading() -> None:
    in_order("曹操", "曾志伟", person=True)
    in_order("单雄信", "邵逸夫", person=True)
    assert sort_key({"zh": "单店"}).startswith("dan1")


def test_numbers_sort_by_value_and_marks_do_not_matter_at_the_ends() -> None:
    in_order("Door 2", "Door 10", "Door 010000000000", "Doors")
    assert sort_key({"en": "“Door” "}) == sort_key({"en": "Door"})
    assert sort_key({"en": "Éclair"}) == sort_key({"en": "eclair"})


def test_the_first_of_zh_ko_en_sorts_and_the_readers_own_is_shown() -> None:
    names = {"zh": "海织", "ko": "하이즈", "en": "Haizhi"}
    assert sort_key(names) == sort_key({"zh": "海织"})
    assert sort_key({"zh": None, "ko": "하이즈", "en": "Haizhi"}) == sort_key({"ko": "하이즈"})
    assert display_name(names, "ko") == "하이즈"
    assert display_name(names, "zh-CN") == "海织"
    assert display_name({"ko": "하이즈"}, "en") == "하이즈"
    assert sort_key({}) == ""


scripts = st.text("王伟張單 김민수ㄱ éßz-Az09あ😀", min_size=1, max_size=12)


@given(scripts, st.booleans())
@settings(max_examples=150)
def test_a_sort_key_has_only_characters_that_every_collation_sorts_alike(name: str, person: bool) -> None:
    assert re.fullmatch(r"[0-9a-z]{0,400}", sort_key({"zh": name}, person=person))
    assert len(sort_key({"ko": "가" * 200})) == 400


@given(scripts)
@settings(max_examples=150)
def test_a_name_is_found_by_itself_and_by_each_of_its_words(name: str) -> None:
    keys = search_keys({"zh": name})
    assert found(keys, name)
    for word in name.split():
        assert found(keys, word)


@given(st.lists(st.sampled_from("가각김까나라박이하힣"), min_size=1, max_size=4).map("".join), st.data())
def test_hangul_keys_order_as_the_syllables_do(name: str, data: st.DataObject) -> None:
    other = data.draw(st.lists(st.sampled_from("가각김까나라박이하힣"), min_size=1, max_size=4).map("".join))
    assert (sort_key({"ko": name}) < sort_key({"ko": other})) == (name < other)
