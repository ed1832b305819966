-- The world of a script: what Redis's scripts may touch, and nothing that differs between replicas.
--
-- Runs once for each virtual machine, before any script. `host` holds the functions that are
-- written in Rust. Everything a script can reach and keep is locked here, so that no call leaves a
-- trace for the next one: a replica that joins later would not have it.
--
-- Functions below use locals only: their environment is out of reach, and so is what they hold.

local host = ...

local type, next, select, tostring, error = type, next, select, tostring, error
local rawget, rawset = rawget, rawset
local getmetatable, setmetatable = getmetatable, setmetatable
local getfenv, setfenv, load, loadstring = getfenv, setfenv, load, loadstring
local pcall, xpcall, pairs = pcall, xpcall, pairs
local insert, remove, sort, foreach, foreachi, setn, concat =
  table.insert, table.remove, table.sort, table.foreach, table.foreachi, table.setn, table.concat
local byte, format, sub = string.byte, string.format, string.sub
local create, resume, wrap = coroutine.create, coroutine.resume, coroutine.wrap

-- The environment of this chunk, of C functions and of threads: out of reach of scripts, which
-- have no getfenv.
local outside = getfenv(1)

-- Locked tables are empty; this says which table each one shows.
local behind = {}
local sealed

local function lock(contents)
  local face = {}
  behind[face] = contents
  setmetatable(face, { __index = contents, __newindex = host.readonly, __metatable = sealed })
  return face
end

-- What getmetatable gives for anything locked. It is locked itself.
sealed = {}
behind[sealed] = {}
setmetatable(sealed, { __newindex = host.readonly, __metatable = sealed })

-- The globals of the running script.
local current

-- Names that were given to tables, functions and threads by tostring: their addresses differ from
-- replica to replica.
local named, names_given = {}, 0

-- A stop goes through every catch; an error of Rust becomes what it stands for.
local function seen(problem)
  if type(problem) == 'userdata' then
    return host.unpack(problem)
  end
  if type(problem) == 'string' then
    if problem == 'not enough memory' then host.out_of_memory() end
    return host.without_prelude(problem)
  end
  return problem
end

local function settle(ok, ...)
  if ok then return ok, ... end
  return false, seen((...))
end

-- Redis's pcall gives the text of an error, as it was before errors became tables.
local function settle_text(ok, ...)
  if ok then return ok, ... end
  local problem = seen((...))
  if type(problem) == 'table' then
    local text = problem.err
    if type(text) == 'string' or type(text) == 'number' then problem = text end
  end
  return false, problem
end

-- The order of keys that are hashed by their address differs from replica to replica.
local function hashed_by_address(key)
  local kind = type(key)
  return kind ~= 'string' and kind ~= 'number' and kind ~= 'boolean' and key ~= nil
    and not host.is_null(key)
end

local function check_order(t)
  for key in next, t do
    if hashed_by_address(key) then
      if next(t, next(t)) == nil then return end
      host.unordered()
    end
  end
end

local lib = {
  _VERSION = _VERSION,
  assert = assert,
  error = error,
  ipairs = ipairs,
  rawequal = rawequal,
  select = select,
  tonumber = tonumber,
  type = type,
  unpack = unpack,
}

function lib.pcall(...) return settle_text(pcall(...)) end

function lib.xpcall(f, handler)
  return settle(xpcall(f, function(problem)
    if type(problem) == 'userdata' then problem = host.unpack(problem) end
    return handler(problem)
  end))
end

function lib.rawget(...)
  local t = ...
  if behind[t] then return rawget(behind[t], (select(2, ...))) end
  return rawget(...)
end

function lib.rawset(...)
  if behind[(...)] then host.readonly_plain() end
  return rawset(...)
end

function lib.setmetatable(...)
  if behind[(...)] then host.readonly_plain() end
  return setmetatable(...)
end

lib.getmetatable = getmetatable

function lib.next(...)
  local t, after = ...
  if type(t) ~= 'table' then return next(...) end
  t = behind[t] or t
  local key, value = next(t, after)
  if key == nil then return nil end
  if hashed_by_address(key) then check_order(t) end
  return key, value
end

function lib.pairs(...)
  local t = ...
  if type(t) ~= 'table' then return pairs(...) end
  t = behind[t] or t
  check_order(t)
  return next, t, nil
end

function lib.tostring(...)
  local value = ...
  local kind = type(value)
  if kind == 'string' or kind == 'number' or value == nil or kind == 'boolean' then
    return tostring(...)
  end
  if host.is_null(value) then return 'userdata: (nil)' end
  local meta = getmetatable(value)
  if type(meta) == 'table' and rawget(meta, '__tostring') ~= nil then return tostring(value) end
  local name = named[value]
  if not name then
    names_given = names_given + 1
    name = format('%s: 0x%012x', kind, names_given)
    named[value] = name
  end
  return name
end

function lib.loadstring(...)
  local code = ...
  if type(code) == 'string' and byte(code) == 27 then
    return nil, 'binary code is not loaded'
  end
  local f, problem = loadstring(...)
  if not f then return nil, problem end
  return setfenv(f, current)
end

function lib.load(...)
  local reader, name = ...
  if type(reader) ~= 'function' then return load(...) end
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == '' then break end
    if type(piece) ~= 'string' then return nil, 'reader function must return a string' end
    pieces[#pieces + 1] = piece
  end
  return lib.loadstring(concat(pieces), name or '=(load)')
end

-- Memory is not a script's to see: its amount depends on what ran before.
function lib.collectgarbage() return 0 end
function lib.gcinfo() return 0 end

local function copy(from)
  local to = {}
  for name, value in next, from do to[name] = value end
  return to
end

local list = copy(table)
function list.insert(...)
  if behind[(...)] then host.readonly_plain() end
  return insert(...)
end
function list.remove(...)
  if behind[(...)] then host.readonly_plain() end
  return remove(...)
end
function list.sort(...)
  if behind[(...)] then host.readonly_plain() end
  return sort(...)
end
function list.foreach(...)
  local t, f = ...
  if type(t) ~= 'table' then return foreach(...) end
  t = behind[t] or t
  check_order(t)
  return foreach(t, f)
end

local numbers = copy(math)
numbers.random, numbers.randomseed = host.random, host.randomseed

-- Each coroutine has its own count of steps, so being born and woken costs some.
local threads = copy(coroutine)
function threads.create(...) host.charge() return create(...) end
function threads.wrap(...) host.charge() return wrap(...) end
function threads.resume(...) host.charge() return settle(resume(...)) end

lib.string = lock(copy(string))
lib.table = lock(list)
lib.math = lock(numbers)
lib.coroutine = lock(threads)
lib.cjson = lock(host.cjson)
lib.cmsgpack = lock(host.cmsgpack)
lib.bit = lock(host.bit)
lib.struct = lock(host.struct)

-- Strings have methods; what they have is locked too.
local string_meta = getmetatable('')
string_meta.__index = lib.string
string_meta.__metatable = lock({ __index = lib.string })

local function missing(contents)
  return setmetatable(contents, { __index = host.missing, __metatable = sealed })
end

-- EVAL's globals, and those of functions, which differ in a few names.
local function world(redis)
  local globals = missing(copy(lib))
  globals.redis = lock(redis)
  local face = lock(globals)
  globals._G = face
  return face, globals
end

local script_face, script_globals = world(host.script_redis)
local function_face, function_globals = world(host.function_redis)
local library_globals = missing({ redis = lock(missing(host.library_redis)) })
-- Locked tables show another table in each of their two phases.
local function_meta = { __newindex = host.readonly, __metatable = sealed }
function_face = setmetatable({}, function_meta)
function_globals._G = function_face

local function enter(face)
  current = face
  if names_given > 0 then named, names_given = {}, 0 end
end

local function show(globals)
  function_meta.__index = globals
  behind[function_face] = globals
end
show(function_globals)

-- The rest of the standard library goes out of reach.
local exports = { script_env = script_face, function_env = function_face }
for name in next, copy(outside) do outside[name] = nil end

-- Runs the compiled script; true and its value, or false and the error.
function exports.run_script(script, keys, argv)
  enter(script_face)
  script_globals.KEYS, script_globals.ARGV = keys, argv
  setfenv(script, script_face)
  return xpcall(script, host.handler)
end

-- Runs the code of a library, which registers its functions.
function exports.run_library(code)
  enter(function_face)
  show(library_globals)
  setfenv(code, function_face)
  local ok, problem = pcall(code)
  show(function_globals)
  return ok, problem
end

-- Runs a function of the library that was run just before.
function exports.run_function(f, keys, argv)
  return xpcall(function() return f(keys, argv) end, host.handler)
end

return exports
