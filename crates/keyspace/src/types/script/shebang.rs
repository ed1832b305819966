//! The first line of a script or library: `#!lua name=… flags=…`.

use wire::ArgsBuf;
use wire::resp::split_args;

use crate::reject::Reject;

/// What a script declares about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScriptFlags(pub(super) u8);

impl ScriptFlags {
    pub(super) const NO_WRITES: ScriptFlags = ScriptFlags(1);
    /// There is no first line: the script may do whatever scripts could before Redis 7.
    pub(super) const COMPATIBLE: ScriptFlags = ScriptFlags(1 << 5);

    /// The names, in Redis's order. All but the first say nothing here: no memory limit is known to
    /// commands, every replica is fresh, and all keys are in reach.
    const NAMES: [(ScriptFlags, &'static str); 5] = [
        (ScriptFlags::NO_WRITES, "no-writes"),
        (ScriptFlags(1 << 1), "allow-oom"),
        (ScriptFlags(1 << 2), "allow-stale"),
        (ScriptFlags(1 << 3), "no-cluster"),
        (ScriptFlags(1 << 4), "allow-cross-slot-keys"),
    ];

    /// Are all of `other` in this set?
    pub(super) fn has(self, other: ScriptFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub(super) fn and(self, other: ScriptFlags) -> ScriptFlags {
        ScriptFlags(self.0 | other.0)
    }

    /// The flag of this name.
    pub(super) fn named(name: &[u8]) -> Option<ScriptFlags> {
        let flag = Self::NAMES.iter().find(|(_, text)| text.as_bytes() == name);
        flag.map(|(flag, _)| *flag)
    }

    /// The names of the flags in this set.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// The flags of a script and its code without the first line (its line break stays, so that lines
/// keep their numbers).
pub(super) fn script(body: &[u8]) -> Result<(ScriptFlags, &[u8]), Reject> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, body));
    }
    let Some((line, code)) = first_line(body) else {
        return Err(Reject::text("ERR Invalid script shebang"));
    };
    let mut parts = ArgsBuf::new();
    if split_args(line, &mut parts).is_err() || parts.args().is_empty() {
        return Err(Reject::text("ERR Invalid engine in script shebang"));
    }
    let parts = parts.args();
    if &parts[0] != b"#!lua" {
        return Err(about("Unexpected engine in script shebang: ", &parts[0]));
    }
    let mut flags = ScriptFlags::default();
    for part in parts.from(1).iter() {
        let Some(names) = part.strip_prefix(b"flags=") else {
            return Err(about("Unknown lua shebang option: ", part));
        };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|&byte| byte == b',') {
            let flag = ScriptFlags::named(name)
                .ok_or_else(|| about("Unexpected flag in script shebang: ", name))?;
            flags = flags.and(flag);
        }
    }
    Ok((flags, code))
}

/// The name of a library and its code without the first line.
pub(super) fn library(payload: &[u8]) -> Result<(Vec<u8>, &[u8]), Reject> {
    if !payload.starts_with(b"#!") {
        return Err(Reject::text("ERR Missing library metadata"));
    }
    let Some((line, code)) = first_line(payload) else {
        return Err(Reject::text("ERR Invalid library metadata"));
    };
    let mut parts = ArgsBuf::new();
    if split_args(line, &mut parts).is_err() || parts.args().is_empty() {
        return Err(Reject::text("ERR Invalid library metadata"));
    }
    let parts = parts.args();
    let mut name: Option<&[u8]> = None;
    for part in parts.from(1).iter() {
        match part.get(..5) {
            Some(key) if key.eq_ignore_ascii_case(b"name=") => {
                if name.replace(&part[5..]).is_some() {
                    let text = "ERR Invalid metadata value, name argument was given multiple times";
                    return Err(Reject::text(text));
                }
            }
            _ => return Err(about("Invalid metadata value given: ", part)),
        }
    }
    let name = name.ok_or(Reject::text("ERR Library name was not given"))?;
    check_name(name)?;
    let engine = parts[0].get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        let engine = String::from_utf8_lossy(engine);
        return Err(Reject::from(format!("ERR Engine '{engine}' not found")));
    }
    Ok((name.to_vec(), code))
}

/// Libraries and functions are named by letters, digits and underscores.
pub(super) fn check_name(name: &[u8]) -> Result<(), Reject> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if !name.is_empty() && name.iter().all(fits) { Ok(()) } else { Err(BAD_NAME) }
}

const BAD_NAME: Reject = Reject::text(
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least \
     one character long",
);

/// A line break within the text before any zero byte, as C finds it.
fn first_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b'\n' || byte == 0)?;
    (text[end] == b'\n').then(|| text.split_at(end))
}

fn about(problem: &str, what: &[u8]) -> Reject {
    Reject::from(format!("ERR {problem}{}", String::from_utf8_lossy(what)))
}

#[cfg(test)]
mod tests {
    use super::{ScriptFlags, library, script};

    #[test]
    fn a_script_declares_flags_or_nothing() {
        let compatible = script(b"return 1").unwrap();
        assert_eq!(compatible, (ScriptFlags::COMPATIBLE, &b"return 1"[..]));
        let (flags, code) = script(b"#!lua flags=no-writes,allow-stale\nreturn 1").unwrap();
        assert_eq!(flags.names().collect::<Vec<_>>(), ["no-writes", "allow-stale"]);
        assert_eq!(code, b"\nreturn 1");
        for (body, expect) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!not-lua\n", "ERR Unexpected engine in script shebang: #!not-lua"),
            ("#!lua badger=data\n", "ERR Unknown lua shebang option: badger=data"),
            ("#!lua flags=allow-oom,what?\n", "ERR Unexpected flag in script shebang: what?"),
        ] {
            assert_eq!(script(body.as_bytes()).unwrap_err().message(), expect, "{body:?}");
        }
    }

    #[test]
    fn a_library_has_one_name() {
        let (name, code) = library(b"#!LUA name=\"foo\"\nx").unwrap();
        assert_eq!((&name[..], code), (&b"foo"[..], &b"\nx"[..]));
        for (body, expect) in [
            ("x", "ERR Missing library metadata"),
            ("#!lua name=a", "ERR Invalid library metadata"),
            ("#!lua\n", "ERR Library name was not given"),
            ("#! name=a\n", "ERR Engine '' not found"),
            ("#!lua name=a foo=bar\n", "ERR Invalid metadata value given: foo=bar"),
        ] {
            assert_eq!(library(body.as_bytes()).unwrap_err().message(), expect, "{body:?}");
        }
    }
}
