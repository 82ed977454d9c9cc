//! README.md, followed step by step.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::Browser;
use crate::support::emulator_program::emulator_program;

const README: &str = include_str!("../../../README.md");
const LINKS: &str = include_str!("../../../docs/rustdoc/links.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code blocks of this language in the section with this heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let start = format!("\n```{language}\n");
    let parts = section.split(&start).skip(1);
    parts.map(|part| part.split("\n```").next().unwrap().to_owned()).collect()
}

/// Runs the reader's commands in a shell.
async fn run(folder: &Path, script: &str) {
    let done = Command::new("sh").args(["-ec", script]).current_dir(folder).output().await.unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The commands and files of "Your own application", unchanged except for ports and existing
/// builds: the result is a page behind a login.
#[tokio::test]
async fn readme_steps_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::os::unix::fs::symlink(root(), folder.join("tower-activeconnect")).unwrap();
    let [new, copy, emulator, start] = &blocks("Your own application", "sh")[..] else {
        panic!("there are four steps")
    };
    let [dependencies] = &blocks("Your own application", "toml")[..] else {
        panic!("there is one block")
    };
    run(folder, new).await;
    let manifest = folder.join("hello/Cargo.toml");
    let (before, _) = fs::read_to_string(&manifest)
        .map(|text| text.split_once("[dependencies]").map(|(a, b)| (a.to_owned(), b.to_owned())))
        .unwrap()
        .unwrap();
    fs::write(&manifest, before + dependencies).unwrap();
    // The same versions as in this workspace, without network access.
    fs::copy(root().join("Cargo.lock"), folder.join("hello/Cargo.lock")).unwrap();
    run(folder, copy).await;

    let (_, arguments) = emulator.split_once("--package activeconnect-emulator -- ").unwrap();
    let program = emulator_program();
    let mut emulator = Command::new(program)
        .args(arguments.split(' '))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut actual = BufReader::new(emulator.stdout.take().unwrap()).lines();
    let line = actual.next_line().await.unwrap().unwrap();
    let service = line.strip_prefix("listening on ").unwrap();

    // A separate target directory would rebuild all dependencies.
    let target = program.ancestors().nth(2).unwrap().to_owned();
    assert!(start.ends_with("cargo run"), "{start}");
    let start =
        start.replace("http://127.0.0.1:8099", service) + " --quiet --offline -- 127.0.0.1:0";
    let mut hello = Command::new("sh")
        .args(["-ec", &start.replace("cargo run", "exec cargo run")])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut actual = BufReader::new(hello.stdout.take().unwrap()).lines();
    let mut line = async || actual.next_line().await.unwrap().expect("the program runs");
    let mut link = line().await;
    while !link.starts_with("alice registers") {
        assert!(!link.starts_with("fault"), "{link}");
        link = line().await;
    }
    let (_, link) = link.rsplit_once(' ').unwrap();
    let listening = line().await;
    let url = listening.strip_prefix("listening on ").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(http.post(link).send().await.unwrap().status().is_success());

    let browser = Browser::new(url);
    assert_eq!(browser.page("/").await.status(), 303);
    browser.form("/auth/login", &[("username", "alice")]).await;
    let state = format!("{service}/emulator/state");
    let session = crate::support::poll_until("a push is sent", async || {
        let state: serde_json::Value = http.get(&state).send().await.ok()?.json().await.ok()?;
        let token = state["sessions"].as_array()?.last()?["session_token"].as_str()?.to_owned();
        Some(token)
    })
    .await;
    let approve = format!("{service}/emulator/sessions/{session}/approve");
    assert!(http.post(approve).send().await.unwrap().status().is_success());
    crate::support::poll_until("in", async || (browser.status().await == "active").then_some(()))
        .await;
    assert_eq!(browser.api("/").await.text().await.unwrap(), "Hello alice");
}

/// Links and pictures have targets, in the files and in rustdoc.
#[test]
fn readme_links_have_targets() {
    let defined: BTreeSet<&str> = LINKS.lines().filter_map(label).collect();
    let guides = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let read = guides.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let source = fs::read_to_string(root().join("src/guides.rs")).unwrap();
    let mut pages = 0;
    for path in read.chain([root().join("README.md")]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name != "README.md" && !source.contains(name) {
            // Rustdoc shows the file itself.
            continue;
        }
        pages += 1;
        let text = fs::read_to_string(&path).unwrap();
        for definition in text.lines().filter(|line| label(line).is_some()) {
            let (label, target) = definition[1..].split_once("]: ").unwrap();
            let path_of_target = path.parent().unwrap().join(target);
            let resolved =
                path_of_target.canonicalize().unwrap_or_else(|_| panic!("{name}: {target}"));
            assert_eq!(resolved, root().join(label).canonicalize().unwrap(), "{name}: {label}");
            let is_picture = label.ends_with(".png");
            assert!(is_picture || defined.contains(label), "links.md lacks {label}");
        }
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            let is_absolute = target.starts_with("https://") || target.starts_with('#');
            assert!(is_absolute || target.contains(['`', ' ', '"']), "{name}: define {target}");
        }
    }
    assert!(pages > 8, "{pages}");
}

fn label(line: &str) -> Option<&str> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    (!target.is_empty()).then_some(label)
}

/// `scripts/embed-images` ran after the last change of the screenshots.
#[test]
fn readme_screenshots_are_current() {
    let script = root().join("scripts/embed-images");
    let checked = std::process::Command::new(script).arg("--check").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
