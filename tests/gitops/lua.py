"""Lua as Argo CD runs it: the base library, `table`, and `os` by require with time and date only; no `string`.

An answer comes back as Argo CD reads it: an empty table is an empty list, and where it replaces a mapping that the
object had, the old mapping stays.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dev.debian import debians

NOW = 1_795_867_200
HARNESS = r"""
local format, gsub, floor, dump, write = string.format, string.gsub, math.floor, tostring, io.write
local load, stop = loadstring, os.exit
local env = {table = table}
for _, name in ipairs({"assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget",
    "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall"}) do
  env[name] = _G[name]
end
local date = os.date
env.require = function(name)
  if name ~= "os" then error("there is no module " .. name) end
  return {time = function() return %(now)d end, date = function(form, at) return date(form, at or %(now)d) end}
end
env._G = env
env.obj = %(obj)s
getmetatable("").__index = nil
local encode
local codes = {['"'] = 34, ["\\"] = 92, ["\n"] = 10, ["\t"] = 9, ["\r"] = 13}
local function quote(text)
  return '"' .. gsub(text, '[%%c"\\]', function(c) return format("\\u%%04x", codes[c] or 32) end) .. '"'
end
encode = function(value)
  if type(value) == "table" then
    local parts = {}
    if value[1] ~= nil or next(value) == nil then
      for _, item in ipairs(value) do table.insert(parts, encode(item)) end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, item in pairs(value) do table.insert(parts, quote(key) .. ":" .. encode(item)) end
    return "{" .. table.concat(parts, ",") .. "}"
  end
  if type(value) == "string" then return quote(value) end
  return dump(value)
end
local chunk, wrong = load(%(script)s, "script")
if chunk == nil then write(encode({error = wrong})) stop(0) end
setfenv(chunk, env)
local good, answer = pcall(chunk)
if good then write(encode({answer = answer})) else write(encode({error = answer})) end
"""


class LuaError(Exception):
    """What a script says when it refuses."""


def lua() -> Path:
    """Return Debian's lua5.1."""
    found = debians("lua5.1", "lua5.1", "it tests what Argo CD runs")
    if found is None:
        pytest.skip("there is no lua5.1 on this machine (Debian: apt-get install lua5.1)")
    return found


def run(script: str, obj: Mapping[str, Any]) -> Any:
    """Return what a script answers for an object; `LuaError` with what it says where it raises."""
    text = HARNESS % {"now": NOW, "obj": literal(obj), "script": literal(script)}
    done = subprocess.run([lua(), "-"], input=text, capture_output=True, text=True, check=True, timeout=10)
    found = json.loads(done.stdout)
    if "error" in found:
        raise LuaError(found["error"])
    return found.get("answer")


def act(script: str, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that an action makes of one, as Argo CD writes it."""
    cleaned: dict[str, Any] = _clean(run(script, obj), obj)
    return cleaned


def _clean(new: Any, old: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, Mapping):
        return {key: _clean(value, old[key]) if key in old else value for key, value in new.items()}
    if new == [] and isinstance(old, Mapping):
        return old
    if isinstance(new, list) and isinstance(old, list):
        return [_clean(value, old[i]) if i < len(old) else value for i, value in enumerate(new)]
    return new


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch that makes `new` of `old`."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key in old and isinstance(value, dict) and isinstance(old[key], Mapping):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif old.get(key) != value:
            patch[key] = value
    return patch


def literal(value: Any) -> str:
    """Return a JSON value as Lua writes it; null is nil, and so is not there."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{literal(k)}]={literal(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "{" + ",".join(map(literal, value)) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    return repr(value)
