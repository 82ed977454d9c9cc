use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The emulator's program. Another package has it, so cargo does not build it for these tests.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "activeconnect-emulator"])
        .arg("--message-format=json")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the emulator does not compile");
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let program = messages.find_map(|message: serde_json::Value| {
        let is_program = message["target"]["name"] == "activeconnect-emulator";
        message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
    });
    program.unwrap()
});

/// The path of the program `activeconnect-emulator`.
pub(crate) fn emulator_program() -> &'static Path {
    &PROGRAM
}
