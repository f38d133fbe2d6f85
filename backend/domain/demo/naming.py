"""Names of shops and people in Chinese, Korean and Latin script. None of them is a real company."""

from typing import NamedTuple

import numpy as np

from backend.domain.arrays import IntArray


class Names(NamedTuple):
    """One name in up to three languages."""

    zh: str | None = None
    ko: str | None = None
    en: str | None = None


def _pairs(*lines: str) -> tuple[tuple[str, str], ...]:
    """(native, Latin) syllables or words, given as `云 Yun|锦 Jin`."""
    halves = [pair.split() for line in lines for pair in line.split("|")]
    return tuple((native, latin) for native, latin in halves)


_ZH_FIRST = _pairs(
    "云 Yun|锦 Jin|素 Su|青 Qing|墨 Mo|棉 Mian|麻 Ma|织 Zhi|雅 Ya|春 Chun|秋 Qiu|月 Yue|星 Xing|海 Hai|南 Nan",
    "溪 Xi|木 Mu|花 Hua|兰 Lan|竹 Zhu|晴 Qing|白 Bai|禾 He|岚 Lan|若 Ruo|知 Zhi|初 Chu|西 Xi|景 Jing|明 Ming",
)
_ZH_SECOND = _pairs(
    "裳 shang|衣 yi|瑟 se|禾 he|里 li|线 xian|纺 fang|庭 ting|舍 she|坊 fang|格 ge|序 xu|屿 yu|岸 an|亭 ting",
    "和 he|朵 duo|言 yan|影 ying|光 guang|野 ye|尚 shang|品 pin|悦 yue|铺 pu|园 yuan|桥 qiao|山 shan|川 chuan",
    "然 ran",
)
_KO_FIRST = _pairs(
    "라 Ra|미 Mi|하 Ha|소 So|다 Da|누 Nu|보 Bo|아 A|이 I|유 Yu|한 Han|연 Yeon|별 Byeol|달 Dal|봄 Bom|결 Gyeol",
    "솔 Sol|온 On|윤 Yun|서 Seo|해 Hae|채 Chae|가 Ga|나 Na",
)
_KO_SECOND = _pairs(
    "온 on|람 ram|늘 neul|담 dam|빛 bit|린 rin|솜 som|리 ri|나 na|루 ru|움 um|진 jin|결 gyeol|든 deun|샘 saem",
    "채 chae|향 hyang|율 yul|비 bi|슬 seul",
)

STORE, CHAIN, DISTRIBUTOR, CORPORATE, MARKETPLACE, SUPPLIER = range(6)
_ZH_ENDS = (
    (("服饰店", "Clothing"), ("女装", "Womenswear"), ("衣橱", "Wardrobe"), ("时装屋", "Fashion House"),
     ("买手店", "Select Shop"), ("童装店", "Kidswear"), ("精品店", "Boutique"), ("户外店", "Outdoor")),
    (("百货", "Department Store"), ("服饰连锁", "Fashion Chain"), ("生活馆", "Living"), ("商厦", "Mall")),
    (("服饰贸易有限公司", "Apparel Trading"), ("供应链有限公司", "Supply Chain"), ("商贸有限公司", "Commerce")),
    (("科技行政部", "Technology Offices"), ("银行工会", "Bank Staff Union"), ("医院后勤部", "Hospital Services"),
     ("航空地勤部", "Airline Ground Staff"), ("酒店集团", "Hotel Group")),
    (("商城", "Mall Online"), ("优选", "Select Online"), ("购", "Shop Online")),
    (("纺织", "Textiles"), ("面料", "Fabrics"), ("印染", "Dyeing"), ("毛纺", "Woollens")),
)  # fmt: skip
_KO_ENDS = (
    (("부티크", "Boutique"), ("패션", "Fashion"), ("편집숍", "Select Shop"), ("의류", "Clothing"), ("키즈", "Kids")),
    (("백화점", "Department Store"), ("어패럴", "Apparel Stores"), ("리빙", "Living")),
    (("유통", "Distribution"), ("상사", "Trading")),
    (("전자 총무팀", "Electronics Offices"), ("은행 복지팀", "Bank Welfare"), ("병원", "Hospital")),
    (("몰", "Mall Online"), ("마켓", "Market Online")),
    (("섬유", "Textiles"), ("직물", "Fabrics")),
)

_ZH_FAMILY = tuple(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎单仇朴"
)
_ZH_GIVEN = (
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超", "秀英", "霞",
    "平", "刚", "桂英", "嘉怡", "思远", "雨桐", "子轩", "欣怡", "浩然", "梓涵", "俊杰", "佳琪", "雅婷", "志强", "建国",
    "晓燕", "海燕", "文博", "诗涵", "一鸣", "可欣", "天宇", "若曦",
)  # fmt: skip
_KO_FAMILY = _pairs(
    "김 Kim|이 Lee|박 Park|최 Choi|정 Jung|강 Kang|조 Cho|윤 Yoon|장 Jang|임 Lim|한 Han|오 Oh|서 Seo|신 Shin",
    "권 Kwon|황 Hwang|안 Ahn|송 Song",
)
_KO_GIVEN = _pairs(
    "민수 Minsu|서연 Seoyeon|도윤 Doyun|지우 Jiwoo|하은 Haeun|민준 Minjun|서준 Seojun|예준 Yejun|지호 Jiho",
    "수아 Sua|지민 Jimin|채원 Chaewon|현우 Hyunwoo|은지 Eunji|유진 Yujin|태현 Taehyun|소희 Sohee|준영 Junyoung",
    "미경 Mikyung|성호 Sungho",
)
_EN_GIVEN = (
    "Grace", "Tom", "Emily", "Daniel", "Anna", "James", "Laura", "Peter", "Sophie", "Mark", "Helen", "Paul", "Nina",
    "Chris", "Julia", "David",
)  # fmt: skip
_EN_FAMILY = (
    "Miller", "Becker", "Chen", "Weber", "Novak", "Smith", "Rossi", "Martin", "Brown", "Silva", "Jensen", "Kumar",
    "Taylor", "Park", "Moreau", "Wood",
)  # fmt: skip


def shop_names(draw: np.random.Generator, kinds: IntArray, korean: IntArray) -> list[Names]:
    """(n,) names of companies: `kinds` as the constants above, `korean` 1 for Korean script.

    Within a kind and script no name comes twice until all combinations are used up; four in ten also have a
    Latin name.
    """
    found: list[Names] = [Names()] * len(kinds)
    latin = draw.random(len(kinds)) < 0.4
    for kind in range(6):
        for script, (first, second, ends) in enumerate(
            ((_ZH_FIRST, _ZH_SECOND, _ZH_ENDS[kind]), (_KO_FIRST, _KO_SECOND, _KO_ENDS[kind]))
        ):
            rows = np.flatnonzero((kinds == kind) & (korean == script)).tolist()
            combinations = draw.permutation(len(first) * len(second) * len(ends)).tolist()
            for place, row in enumerate(rows):
                pick = combinations[place % len(combinations)]
                one, rest = first[pick % len(first)], pick // len(first)
                two, end = second[rest % len(second)], ends[rest // len(second)]
                gap = " " if script else ""
                native = f"{one[0]}{two[0]}{gap}{end[0]}"
                english = f"{one[1]}{two[1]} {end[1]}" if latin[row] else None
                found[row] = Names(ko=native, en=english) if script else Names(zh=native, en=english)
    return found


def person_names(draw: np.random.Generator, korean: IntArray) -> list[Names]:
    """(n,) names of people; one in 25 bears a Latin name only, a Korean half the time a Latin one too."""
    n = len(korean)
    family, given, which = draw.random(n), draw.random(n), draw.random(n)
    found = []
    for script, f, g, w in zip(korean.tolist(), family.tolist(), given.tolist(), which.tolist(), strict=True):
        if w < 0.04:
            found.append(Names(en=f"{_EN_GIVEN[int(g * len(_EN_GIVEN))]} {_EN_FAMILY[int(f * len(_EN_FAMILY))]}"))
        elif script:
            one, two = _KO_FAMILY[int(f * len(_KO_FAMILY))], _KO_GIVEN[int(g * len(_KO_GIVEN))]
            found.append(Names(ko=one[0] + two[0], en=f"{one[1]} {two[1]}" if w > 0.5 else None))
        else:
            found.append(Names(zh=_ZH_FAMILY[int(f * len(_ZH_FAMILY))] + _ZH_GIVEN[int(g * len(_ZH_GIVEN))]))
    return found


def phones(draw: np.random.Generator, korean: IntArray) -> list[str]:
    """(n,) numbers as E.164 in blocks no subscriber has: +86 142… and +82 10-0….

    Whoever calls one from the demo must reach nobody.
    """
    numbers = draw.integers(0, 100_000_000, len(korean)).tolist()
    return [
        f"+82100{number % 10_000_000:07d}" if script else f"+86142{number:08d}"
        for script, number in zip(korean.tolist(), numbers, strict=True)
    ]
