"""Where the demo company sells: regions, the cities they are cut into, and positions around city centres."""

import math
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray

CENTRE_REACH_KM = 13.0
"""Customers lie within this distance of their patch's centre; half of them within 5 km."""
KM_PER_DEGREE = 111.195
E7 = 10_000_000


@dataclass(frozen=True, slots=True)
class Region:
    """A manager's part of the tree."""

    code: str
    zh: str
    ko: str
    en: str
    zone: str


@dataclass(frozen=True, slots=True)
class City:
    """One patch, or the city that several patches divide; centre in degrees."""

    code: str
    region: str
    country: str
    province: str
    city: str
    zh: str
    ko: str
    en: str
    lat: float
    lon: float
    districts: tuple[str, ...]
    postcode: str


REGIONS = (
    Region("east", "华东", "화둥", "East China", "Asia/Shanghai"),
    Region("south", "华南", "화난", "South China", "Asia/Shanghai"),
    Region("north-west", "华北与西部", "화베이·서부", "North and West China", "Asia/Shanghai"),
    Region("korea", "韩国", "대한민국", "Korea", "Asia/Seoul"),
)

CITIES = (
    City("sh-01", "east", "CN", "上海市", "上海市", "上海静安", "상하이 징안", "Shanghai Jing'an", 31.2304, 121.4737,
         ("静安区", "普陀区", "虹口区"), "200040"),
    City("sh-02", "east", "CN", "上海市", "上海市", "上海徐汇", "상하이 쉬후이", "Shanghai Xuhui", 31.1884, 121.4365,
         ("徐汇区", "长宁区", "闵行区"), "200030"),
    City("sh-03", "east", "CN", "上海市", "上海市", "上海浦东", "상하이 푸둥", "Shanghai Pudong", 31.2215, 121.5447,
         ("浦东新区", "杨浦区"), "200120"),
    City("hgh-01", "east", "CN", "浙江省", "杭州市", "杭州", "항저우", "Hangzhou", 30.2741, 120.1551,
         ("上城区", "西湖区", "滨江区"), "310000"),
    City("nkg-01", "east", "CN", "江苏省", "南京市", "南京", "난징", "Nanjing", 32.0603, 118.7969,
         ("玄武区", "鼓楼区", "建邺区"), "210000"),
    City("szv-01", "east", "CN", "江苏省", "苏州市", "苏州", "쑤저우", "Suzhou", 31.2989, 120.5853,
         ("姑苏区", "吴中区", "虎丘区"), "215000"),
    City("ngb-01", "east", "CN", "浙江省", "宁波市", "宁波", "닝보", "Ningbo", 29.8683, 121.5440,
         ("海曙区", "江北区", "鄞州区"), "315000"),
    City("hfe-01", "east", "CN", "安徽省", "合肥市", "合肥", "허페이", "Hefei", 31.8206, 117.2272,
         ("庐阳区", "蜀山区", "包河区"), "230000"),
    City("can-01", "south", "CN", "广东省", "广州市", "广州越秀", "광저우 웨슈", "Guangzhou Yuexiu", 23.1291, 113.2644,
         ("越秀区", "荔湾区", "白云区"), "510030"),
    City("can-02", "south", "CN", "广东省", "广州市", "广州天河", "광저우 톈허", "Guangzhou Tianhe", 23.1247, 113.3612,
         ("天河区", "海珠区"), "510630"),
    City("szx-01", "south", "CN", "广东省", "深圳市", "深圳福田", "선전 푸톈", "Shenzhen Futian", 22.5431, 114.0579,
         ("福田区", "南山区"), "518000"),
    City("szx-02", "south", "CN", "广东省", "深圳市", "深圳罗湖", "선전 뤄후", "Shenzhen Luohu", 22.5485, 114.1313,
         ("罗湖区", "龙岗区"), "518001"),
    City("xmn-01", "south", "CN", "福建省", "厦门市", "厦门", "샤먼", "Xiamen", 24.4798, 118.0894,
         ("思明区", "湖里区"), "361000"),
    City("csx-01", "south", "CN", "湖南省", "长沙市", "长沙", "창사", "Changsha", 28.2282, 112.9388,
         ("芙蓉区", "天心区", "岳麓区"), "410000"),
    City("bj-01", "north-west", "CN", "北京市", "北京市", "北京朝阳", "베이징 차오양", "Beijing Chaoyang",
         39.9219, 116.4436, ("朝阳区", "通州区"), "100020"),
    City("bj-02", "north-west", "CN", "北京市", "北京市", "北京海淀", "베이징 하이뎬", "Beijing Haidian",
         39.9593, 116.2982, ("海淀区", "西城区"), "100080"),
    City("tsn-01", "north-west", "CN", "天津市", "天津市", "天津", "톈진", "Tianjin", 39.1256, 117.1909,
         ("和平区", "河西区", "南开区"), "300000"),
    City("ctu-01", "north-west", "CN", "四川省", "成都市", "成都", "청두", "Chengdu", 30.5728, 104.0668,
         ("锦江区", "武侯区", "青羊区"), "610000"),
    City("sia-01", "north-west", "CN", "陕西省", "西安市", "西安", "시안", "Xi'an", 34.3416, 108.9398,
         ("碑林区", "雁塔区", "莲湖区"), "710000"),
    City("sel-01", "korea", "KR", "서울특별시", "서울특별시", "首尔江南", "서울 강남", "Seoul Gangnam",
         37.4979, 127.0276, ("강남구", "서초구", "송파구"), "06134"),
    City("sel-02", "korea", "KR", "서울특별시", "서울특별시", "首尔麻浦", "서울 마포", "Seoul Mapo",
         37.5563, 126.9236, ("마포구", "용산구", "중구"), "04066"),
    City("pus-01", "korea", "KR", "부산광역시", "부산광역시", "釜山", "부산", "Busan", 35.1796, 129.0756,
         ("해운대구", "수영구", "부산진구"), "48058"),
    City("tae-01", "korea", "KR", "대구광역시", "대구광역시", "大邱", "대구", "Daegu", 35.8714, 128.6014,
         ("중구", "수성구", "달서구"), "41911"),
    City("tjn-01", "korea", "KR", "대전광역시", "대전광역시", "大田", "대전", "Daejeon", 36.3504, 127.3845,
         ("서구", "유성구"), "35242"),
)  # fmt: skip

STREETS_CN = ("人民路", "中山路", "解放路", "建设路", "和平路", "文化路", "新华路", "长江路", "桂林路", "南京路",
              "虹桥路", "湖滨路", "锦绣路", "春晓路", "梅园路", "青年路")  # fmt: skip
STREETS_KR = ("중앙로", "번영로", "동성로", "한강대로", "테헤란로", "양화로", "해운대로", "와우산로", "도산대로",
              "대학로", "문화로", "충장로")  # fmt: skip


def zone_of(country: str) -> str:
    """The time zone of a country the company sells in."""
    return "Asia/Seoul" if country == "KR" else "Asia/Shanghai"


def offset_ms_of(country: str) -> int:
    """Hours ahead of UTC in milliseconds; neither country changes its clocks."""
    return (9 if country == "KR" else 8) * 3_600_000


def around(draw: np.random.Generator, lat: FloatArray, lon: FloatArray) -> tuple[IntArray, IntArray]:
    """(n,) positions in degrees·10⁷ around centres in degrees, at most `CENTRE_REACH_KM` away, dense inside."""
    angle = draw.uniform(0, 2 * math.pi, lat.shape)
    away_km = CENTRE_REACH_KM * draw.uniform(0, 1, lat.shape) ** 1.4
    return shifted(lat, lon, away_km * np.sin(angle), away_km * np.cos(angle))


def shifted(lat: FloatArray, lon: FloatArray, north_km: FloatArray, east_km: FloatArray) -> tuple[IntArray, IntArray]:
    """(n,) positions in degrees·10⁷, moved by kilometres."""
    there = lat + north_km / KM_PER_DEGREE
    across = lon + east_km / (KM_PER_DEGREE * np.cos(np.radians(lat)))
    return np.rint(there * E7).astype(np.int64), np.rint(across * E7).astype(np.int64)
