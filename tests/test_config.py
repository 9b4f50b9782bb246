"""Code, file and environment say together what holds; what is wrong is named where it stands."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from cachemw.caching.policy import CachePolicy
from cachemw.config import Settings, load_settings
from cachemw.errors import ConfigurationError

FILE = """
store = "redis://localhost:6379/0"

[policies.hot]
policy = "docs"
ttl = "5m"

[policies.hotter]
policy = "hot"
jitter = 0.2

[cache]
"/about" = "static"

[cache."GET /products/{id}"]
policy = "hotter"
tags = ["product:{id}"]
ttl_by_status = {404 = "10s"}
vary_by = ["Accept-Language", "cookie:theme"]

[limits."POST /login"]
limits = ["5/minute"]

[sessions]
idle = "30m"
"""


async def guard(connection: HTTPConnection) -> bool:
    return True


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(
        text: str = "",
        name: str = "cachemw.toml",
        env: Mapping[str, str] | None = None,
        **code: Any,
    ) -> Settings:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return load_settings(path, env=env or {}, code=code)

    return load


def test_a_file_says_everything(load: Any) -> None:
    settings = load(FILE)
    assert settings.store == "redis://localhost:6379/0"
    assert settings.cache["/about"] == CachePolicy.preset("static")
    assert settings.cache["GET /products/{id}"] == CachePolicy.preset(
        "docs",
        ttl="5m",
        jitter=0.2,
        tags=["product:{id}"],
        ttl_by_status={404: "10s"},
        vary_by=["Accept-Language", "cookie:theme"],
    )
    assert settings.policies["hot"].ttl == 300
    assert settings.limits == {"POST /login": {"limits": ["5/minute"]}}
    assert settings.sessions == {"idle": "30m"}


def test_nothing_said_is_nothing_set(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(env={}) == Settings()
    assert load("", "cachemw.yaml") == Settings()
    monkeypatch.setenv("CACHEMW_STORE", "memory://")
    assert load_settings() == Settings(store="memory://")


def test_yaml_says_the_same(load: Any) -> None:
    settings = load(
        "store: memory://\ncache:\n  /about: {ttl: 5m, ttl_by_status: {404: 10s}}\n", "c.yml"
    )
    assert settings == Settings(
        store="memory://", cache={"/about": CachePolicy(ttl="5m", ttl_by_status={404: "10s"})}
    )


def test_yaml_needs_a_package(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cachemw\[yaml\]'"):
        load("store: memory://", "c.yaml")


def test_the_file_beats_the_code_and_the_environment_the_file(load: Any) -> None:
    env = {
        "CACHEMW_STORE": "redis://env",
        "CACHEMW_SESSIONS__IDLE": "5m",
        "CACHEMW_POLICIES__HOT__TTL": "10m",
        "CACHEMW_POLICIES__HOT__TAGS": '["a", "b"]',
        "CACHEMW_POLICIES__NEW": "realtime",
        "CACHEMW_TEST_SERVER": "not for us",
        "OTHER": "x",
    }
    settings = load(
        FILE,
        env=env,
        store="redis://code",
        cache={"/about": CachePolicy(ttl=1), "/code": CachePolicy(ttl=2)},
        sessions={"idle": "1h", "absolute": "12h"},
    )
    assert settings.store == "redis://env"
    assert settings.sessions == {"idle": "5m", "absolute": "12h"}
    assert (settings.policies["hot"].ttl, settings.policies["hot"].tags) == (600, ("a", "b"))
    assert settings.cache["GET /products/{id}"].ttl == 600
    assert settings.policies["new"].ttl == 60
    # The first match wins, so the file's patterns come first.
    assert list(settings.cache) == ["/about", "GET /products/{id}", "/code"]
    assert settings.cache["/about"] == CachePolicy.preset("static")
    assert settings.cache["/code"].ttl == 2


def test_a_file_may_build_on_a_policy_of_the_code(load: Any) -> None:
    hot = CachePolicy(ttl="5m", ttl_by_status={404: 1}, refresh_ahead="10s", vary_by="Accept")
    settings = load('[cache."/x"]\npolicy = "hot"\njitter = 0', policies={"hot": hot})
    assert settings.cache["/x"] == CachePolicy(
        ttl="5m", ttl_by_status={404: 1}, refresh_ahead="10s", vary_by="Accept", jitter=0
    )


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    path.write_text('store = "memory://"')
    assert load_settings(env={"CACHEMW_CONFIG": str(path)}).store == "memory://"


def test_functions_are_written_as_where_they_are(load: Any) -> None:
    text = f'[cache."/x"]\ncredentials = "shared"\nguard = "{__name__}:guard"'
    assert load(text).cache["/x"].guard is guard


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store = 3", "cachemw.toml: store: 3 is no URL"),
        ("stor = 3", "cachemw.toml: stor: no such section: did you mean 'store'?"),
        ("cache = 3", "cachemw.toml: cache: must be a table, is 3"),
        ("store = ", "cachemw.toml: Invalid value (at end of document"),
        ('[cache."/x"]\ntll = 1', "cachemw.toml: cache.\"/x\": unknown option 'tll': did you mean"),
        ('[cache."/x"]\nttl = "soon"', "cache.\"/x\": ttl: 'soon' is not a duration"),
        ('[cache]\n"/x" = 5', 'cache."/x": must be a table or the name of a policy, is 5'),
        ('[cache]\n"/x" = "ho"', "cache.\"/x\".policy: no policy 'ho': did you mean 'hot'?"),
        ('[cache]\n"/x" = "doc"', "no policy 'doc': did you mean 'docs'?"),
        ('[policies.a]\npolicy = "b"\n[policies.b]\npolicy = "a"', "each other: b -> a -> b"),
        ('[policies.a]\npolicy = "a"', "policies.a.policy: no policy 'a'"),
        ('[cache."/x"]\nguard = "no.such:thing"', "cache.\"/x\".guard: 'no.such:thing' cannot be"),
        ('[cache."/x"]\nguard = "os:thing"', "'os:thing' cannot be imported"),
        ('[cache."/x"]\nidentity = ":"', "':' cannot be imported"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(load: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(text, policies={"hot": CachePolicy()} if "ho" in text else {})
    assert message in str(caught.value)
    assert "cachemw.toml: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "- a", "c.yaml: must be a table of store, cache"),
        ("c.yaml", "a: [", "c.yaml: while parsing"),
        ("c.json", "{}", "c.json: .json: write TOML or YAML"),
        ("conf", "", "conf: no suffix: write TOML or YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(load: Any, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(text, name)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="gone.toml: cannot be read: No such file"):
        load_settings(tmp_path / "gone.toml", env={})


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"CACHEMW_STROE": "x"},
            "variable CACHEMW_STROE: no setting 'stroe': did you mean 'store'",
        ),
        ({"CACHEMW_FOO__BAR": "x"}, "variable CACHEMW_FOO__BAR: no setting 'foo': choose among"),
        (
            {"CACHEMW_SESSIONS": "x", "CACHEMW_SESSIONS__IDLE": "1m"},
            "'sessions' has a value of its",
        ),
        ({"CACHEMW_POLICIES__A__TAGS": "[1"}, "variable CACHEMW_POLICIES__A__TAGS: "),
        ({"CACHEMW_POLICIES__A__TTL": "x"}, "settings (CACHEMW_* variables): policies.a: ttl: 'x'"),
    ],
)
def test_a_wrong_variable_is_named(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(env=env)
    assert message in str(caught.value)


def test_both_sources_are_named_when_both_had_a_say(load: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cachemw.toml and CACHEMW_\* variables: policies.a"
    ):
        load("[policies.a]\nttl = '1m'", env={"CACHEMW_POLICIES__A__JITTER": "3"})
