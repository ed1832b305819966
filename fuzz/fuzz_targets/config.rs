//! The file of settings: any text is either settings or an error of one sentence.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/synod/src/settings.rs"]
#[expect(dead_code, reason = "the binary uses what is left over here")]
mod settings;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = settings::Settings::parse(text) {
        assert!(!error.is_empty(), "an error says something");
    }
});
