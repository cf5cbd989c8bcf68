"""Which MCP servers there are: said in the form that others use, and refused without telling a secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp_types import Tool

from agent.mcp.settings import InvalidMcpServers, read_mcp_servers
from agent.mcp.tools import LARGEST_OFFER, find_fault, find_faults, name_tool
from server.settings import InvalidSettings, load_settings


def servers(**given: Any) -> str:
    return json.dumps({"mcpServers": given})


def test_a_program_and_an_address_are_read() -> None:
    read = read_mcp_servers(
        servers(
            files={"command": "npx", "args": ["-y", "server"], "env": {"A": "b"}, "cwd": "/tmp"},
            web={"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer x"}},
            off={"command": "npx", "disabled": True},
        )
    )
    assert list(read) == ["files", "web"]
    assert read["files"].args == ("-y", "server")
    assert read["web"].headers == {"Authorization": "Bearer x"}


def test_each_call_asks_unless_it_is_said_otherwise() -> None:
    read = read_mcp_servers(
        servers(a={"command": "x"}, b={"command": "x", "approval": False}, c={"command": "x", "autoApprove": ["read"]})
    )
    assert [read[name].asks("read") for name in "abc"] == [True, False, False]
    assert read["c"].asks("write")


def test_no_call_is_made_twice_unless_it_is_said_otherwise() -> None:
    read = read_mcp_servers(
        servers(a={"command": "x"}, b={"command": "x", "repeatable": True}, c={"command": "x", "repeatable": ["read"]})
    )
    assert [read[name].repeats("read") for name in "abc"] == [False, True, True]
    assert not read["c"].repeats("write")


def test_a_value_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_TOKEN", "sesame")
    read = read_mcp_servers(servers(a={"url": "http://x/${MCP_TOKEN}", "headers": {"A": "Bearer ${MCP_TOKEN}"}}))
    assert read["a"].url == "http://x/sesame"
    assert read["a"].headers == {"A": "Bearer sesame"}
    monkeypatch.delenv("MCP_TOKEN")
    with pytest.raises(InvalidMcpServers, match=r"^a\.headers: the environment has no MCP_TOKEN$"):
        read_mcp_servers(servers(a={"url": "http://x", "headers": {"A": "Bearer ${MCP_TOKEN}"}}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("nonsense", "no JSON"),
        ("[]", "wants an object"),
        ('{"servers": {}}', "wants an object"),
        (servers(a={}), "a: wants either command or url"),
        (servers(a={"command": "sesame", "url": "http://sesame"}), "a: wants either command or url"),
        (servers(a={"command": "sesame", "type": "http"}), "a: type does not go with it"),
        (servers(a={"url": "http://sesame", "type": "sse"}), "a.type: "),
        (servers(a={"url": "file:///sesame"}), "a.url: "),
        (servers(a={"command": "sesame", "aproval": False}), "a.aproval: "),
        (servers(a={"command": "sesame", "approval": ["sesame"]}), "a.approval: "),
        (servers(a={"command": "sesame", "env": {"A": 7}}), "a.env.A: "),
        (servers(a={"command": "sesame", "timeout": 0}), "a.timeout: "),
        (servers(a__b={"command": "sesame"}), "server's name"),
        (servers(a_={"command": "sesame"}), "server's name"),
        (servers(**{"a b": {"command": "sesame"}}), "server's name"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name_and_no_value_told(
    given: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidMcpServers) as failure:
        read_mcp_servers(given)
    assert problem in str(failure.value)
    assert "sesame" not in str(failure.value)
    if given.startswith("{"):
        monkeypatch.setenv("LOQUENT_MCP_SERVERS", given)
        with pytest.raises(InvalidSettings, match=r"^LOQUENT_MCP_SERVERS: ") as refused:
            load_settings()
        assert "sesame" not in str(refused.value)


def test_they_are_in_the_variable_or_in_the_file_that_it_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOQUENT_MCP_SERVERS", servers(a={"command": "x"}))
    assert list(load_settings().mcp_servers) == ["a"]
    file = tmp_path / "mcp.json"
    file.write_text(servers(b={"command": "x"}))
    monkeypatch.setenv("LOQUENT_MCP_SERVERS", str(file))
    assert list(load_settings().mcp_servers) == ["b"]
    monkeypatch.setenv("LOQUENT_MCP_SERVERS", "")
    assert load_settings().mcp_servers == {}
    monkeypatch.setenv("LOQUENT_MCP_SERVERS", str(tmp_path / "missing.json"))
    with pytest.raises(InvalidSettings, match=r"^LOQUENT_MCP_SERVERS: .*cannot be read"):
        load_settings()


def test_no_text_of_the_settings_tells_a_secret() -> None:
    read = read_mcp_servers(
        servers(
            a={"command": "x", "args": ["--key=sesame1"], "env": {"K": "sesame2"}},
            b={"url": "http://user:sesame3@x", "headers": {"K": "sesame4"}},
        )
    )
    assert "sesame" not in repr(read)
    assert read["a"].redact("ran with --key=sesame1 and sesame2") == "ran with … and …"
    assert read["b"].redact("http://user:sesame3@x and sesame4") == "… and …"


def test_a_word_of_a_value_is_a_secret_too_and_one_that_has_another_in_it_is_taken_out_whole() -> None:
    env = {
        "KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----",
        "A": "open",
        "B": "open-sesame",
    }
    read = read_mcp_servers(servers(a={"command": "x", "args": ["--token=abcdefgh12"], "env": env}))["a"]
    assert read.redact("bad key: MIIEvQIBADANBg") == "bad key: …"
    assert read.redact("no abcdefgh12, no open-sesame") == "no …, no …"
    read = read_mcp_servers(servers(a={"url": "http://x", "headers": {"A": "Bearer abcdefgh12"}}))["a"]
    assert read.redact("invalid token abcdefgh12") == "invalid token …"


# Names and schemas


def test_a_tool_has_its_servers_name_before_its_own() -> None:
    assert name_tool("files", "read_file") == "files__read_file"


def test_names_that_the_api_refuses_become_others_that_stay_apart() -> None:
    names = [name_tool("a", tool) for tool in ("b.c", "b/c", "b_c", "x" * 100, "x" * 101, "ä", "", "\ud83d")]
    assert len(set(names)) == len(names)
    assert all(0 < len(name) <= 64 and name.isascii() and name.replace("_", "").isalnum() for name in names)
    assert name_tool("a", "b.c") == names[0]


def test_a_schema_that_the_api_takes_has_no_fault() -> None:
    assert find_fault({"type": "object", "properties": {"a.b-c_1": {"anyOf": [{"type": "string"}]}}}) is None


def test_a_schema_that_the_api_refuses_has_a_fault() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"x": deep}}
    refused: list[dict[str, Any]] = [
        {},
        {"type": "string"},
        {"type": ["object"]},
        {"type": "object", "oneOf": []},
        {"type": "object", "properties": {"a b": {}}},
        {"type": "object", "properties": {"x" * 65: {}}},
        {"type": "object", "properties": {"a": {"type": "nonsense"}}},
        {"type": "object", "properties": 7},
        {"type": "object", "description": "x" * 40_000},
        deep,
    ]
    assert [schema for schema in refused if find_fault(schema) is None] == []


def test_a_schema_that_is_nested_deeper_than_can_be_looked_at_is_a_fault_of_its_tool_alone() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(120):
        deep = {"type": "object", "properties": {"x": deep}}
    tools = [Tool(name="deep", input_schema=deep), Tool(name="flat", input_schema={"type": "object"})]
    assert find_faults(tools) == ["its schema is nested too deep", None]


def test_all_that_a_server_offers_together_has_a_limit() -> None:
    schema = {"type": "object", "description": "x" * 30_000}
    tools = [Tool(name=str(number), input_schema=schema) for number in range(20)]
    faults = find_faults([*tools, Tool(name="small", input_schema={"type": "object"})])
    assert faults.count(None) == LARGEST_OFFER // 30_000 + 1
    assert faults[-1] is None
