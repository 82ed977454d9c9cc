//! Checks docs/threats.md: each attack and fault names an existing test, or the reason for having
//! none.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TABLE: &str = include_str!("../docs/threats.md");
const ROWS: usize = 189;
const ISSUES: [&str; 8] =
    ["Wire", "Engine", "Misbehaviour", "In flight", "Login", "gRPC", "Performance", "Faults"];

/// One row: its id, and the paths and names of its tests.
#[derive(Debug, PartialEq)]
struct Row<'a> {
    id: &'a str,
    tests: Vec<(&'a str, &'a str)>,
}

fn rows(text: &str) -> Result<Vec<Row<'_>>, String> {
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(row).collect()
}

fn row(line: &str) -> Result<Row<'_>, String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [id, context, cover] = cells[..] else {
        return Err(format!("{} cells, not 3: {line}", cells.len()));
    };
    if context.is_empty() {
        return Err(format!("{id} does not say what it is about"));
    }
    let tests = tests(cover).map_err(|reason| format!("{id}: {reason}"))?;
    Ok(Row { id, tests })
}

/// Parses `` `path::name`, … `` with an optional `; rest: ` and text, or a text alone.
fn tests(cover: &str) -> Result<Vec<(&str, &str)>, String> {
    if !cover.starts_with('`') {
        return promise(cover).map(|()| Vec::new());
    }
    let (named, rest) = match cover.split_once("; ") {
        Some((named, rest)) => (named, Some(rest)),
        None => (cover, None),
    };
    if let Some(rest) = rest {
        promise(rest.strip_prefix("rest: ").ok_or_else(|| format!("{rest:?} is no rest"))?)?;
    }
    named.split(", ").map(test).collect()
}

fn test(quoted: &str) -> Result<(&str, &str), String> {
    let rejected = || format!("{quoted} is no `path.rs::test`");
    let inner = quoted.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    let (path, name) = inner.and_then(|text| text.split_once(".rs::")).ok_or_else(rejected)?;
    let path = &quoted[1..path.len() + ".rs".len() + 1];
    let is_name = !name.is_empty()
        && name.split("::").all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
    if is_name { Ok((path, name)) } else { Err(rejected()) }
}

fn promise(text: &str) -> Result<(), String> {
    let kept = match text.split_once(": ") {
        Some(("issue", names)) => names.split(", ").all(|name| ISSUES.contains(&name)),
        Some(("later" | "n/a", reason)) => !reason.trim().is_empty() && !reason.contains("; "),
        _ => false,
    };
    if kept { Ok(()) } else { Err(format!("{text:?} is no cover")) }
}

/// The errors in the ids: each must appear once, in order.
fn misnumbered(rows: &[Row<'_>], count: usize) -> Vec<String> {
    let found: Vec<&str> = rows.iter().map(|row| row.id).collect();
    let wanted: Vec<String> = (1..=count).map(|number| format!("T{number:03}")).collect();
    let mut wrong: Vec<String> = (wanted.iter())
        .filter(|id| found.iter().filter(|other| *other == id).count() != 1)
        .map(|id| format!("{id} does not stand there once"))
        .collect();
    let anonymous_clients = found.iter().filter(|id| !wanted.iter().any(|other| other == *id));
    wrong.extend(anonymous_clients.map(|id| format!("{id:?} is no id")));
    if wrong.is_empty() && found != wanted {
        wrong.push("the ids are out of order".to_owned());
    }
    wrong
}

/// The tests of each test file, as listed by `cargo test --lib --bins --tests -- --list`.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new(env!("CARGO"))
        .args([
            "test",
            "--quiet",
            "--locked",
            "--workspace",
            "--all-features",
            "--lib",
            "--bins",
            "--tests",
        ])
        .args(["--no-run", "--message-format=json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the tests do not compile");
    let mut listed = BTreeMap::new();
    for line in String::from_utf8(built.stdout).unwrap().lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        // `executable` is null for artifacts that are no programs.
        if message["profile"]["test"] != true {
            continue;
        }
        let Some(program) = message["executable"].as_str() else { continue };
        let source = Path::new(message["target"]["src_path"].as_str().unwrap());
        let source = source.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let list = Command::new(program).args(["--list", "--format=terse"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        listed.insert(source, names.map(ToOwned::to_owned).collect());
    }
    listed
}

fn exists(listed: &BTreeMap<String, BTreeSet<String>>, path: &str, name: &str) -> bool {
    if let Some(names) = listed.get(path) {
        return names.contains(name);
    }
    // Tests of a library's module have the module's name as a prefix.
    let Some((package, module)) = path.split_once("src/") else { return false };
    let Some(module) = module.strip_suffix(".rs") else { return false };
    let module = module.strip_suffix("/mod").unwrap_or(module).replace('/', "::");
    listed
        .get(&format!("{package}src/lib.rs"))
        .is_some_and(|names| names.contains(&format!("{module}::{name}")))
}

#[test]
fn every_id_is_listed_once_with_a_cover() {
    let rows = rows(TABLE).unwrap();
    assert_eq!(misnumbered(&rows, ROWS), Vec::<String>::new());
}

#[test]
fn every_named_test_exists() {
    let listed = listed();
    assert!(listed["src/lib.rs"].len() > 40, "the list was not read: {listed:?}");
    assert!(listed["tests/threats.rs"].contains("every_named_test_exists"));
    let rows = rows(TABLE).unwrap();
    let named = rows.iter().flat_map(|row| row.tests.iter().map(move |test| (row.id, test)));
    let missing: Vec<String> = named
        .filter(|(_, (path, name))| !exists(&listed, path, name))
        .map(|(id, (path, name))| format!("{id}: {path}::{name}"))
        .collect();
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

#[test]
fn covers_are_parsed_strictly() {
    assert_eq!(tests("`tests/a.rs::b`"), Ok(vec![("tests/a.rs", "b")]));
    let both = "`src/a/b.rs::tests::c`, `tests/d/main.rs::e::f`";
    let read = vec![("src/a/b.rs", "tests::c"), ("tests/d/main.rs", "e::f")];
    assert_eq!(tests(both), Ok(read.clone()));
    assert_eq!(tests(&format!("{both}; rest: issue: In flight")), Ok(read));
    for promise in ["issue: Wire", "issue: Engine, In flight", "later: needs it", "n/a: no"] {
        assert_eq!(tests(promise), Ok(vec![]), "{promise}");
    }
    for nonsense in [
        "",
        "yes",
        "later",
        "later: ",
        "n/a:",
        "issue: ",
        "issue: Other",
        "issue: Wire, Other",
        "rest: issue: Wire",
        "later: a; rest: issue: Wire",
        "tests/a.rs::b",
        "`tests/a.rs`",
        "`tests/a.rs::`",
        "`tests/a::b`",
        "`tests/a.rs::b c`",
        "`tests/a.rs::b::`",
        "`tests/a.rs::b`,`tests/a.rs::c`",
        "`tests/a.rs::b`; issue: Wire",
        "`tests/a.rs::b`; rest: none",
        "`tests/a.rs::b`; rest: ",
    ] {
        assert!(tests(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn rows_are_counted() {
    let table = |ids: &[&str]| {
        let rows: String = ids.iter().map(|id| format!("| {id} | x | later: y |\n")).collect();
        format!("# Title\n\n| id | what | cover |\n| --- | --- | --- |\n{rows}")
    };
    let wrong = |ids: &[&str]| misnumbered(&rows(&table(ids)).unwrap(), 3);
    assert_eq!(wrong(&["T001", "T002", "T003"]), Vec::<String>::new());
    assert_eq!(wrong(&["T001", "T003"]), ["T002 does not stand there once"]);
    assert_eq!(wrong(&["T001", "T002", "T002", "T003"]), ["T002 does not stand there once"]);
    assert_eq!(wrong(&["T001", "T003", "T002"]), ["the ids are out of order"]);
    assert_eq!(wrong(&["T001", "T002", "T003", "T4"]), ["\"T4\" is no id"]);
    for broken in ["| T001 | x |", "| T001 |  | later: y |", "| T001 | x | later: y | z |"] {
        assert!(row(broken).is_err(), "{broken}");
    }
}

#[test]
fn tests_are_found_by_file() {
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let listed = BTreeMap::from([
        ("src/lib.rs".to_owned(), of(&["a::b::tests::c", "d::tests::e"])),
        ("tests/f/main.rs".to_owned(), of(&["g::h"])),
    ]);
    assert!(exists(&listed, "src/a/b.rs", "tests::c"));
    assert!(exists(&listed, "src/d/mod.rs", "tests::e"));
    assert!(exists(&listed, "tests/f/main.rs", "g::h"));
    for (path, name) in [
        ("src/a/b.rs", "c"),
        ("src/a.rs", "tests::c"),
        ("tests/f.rs", "g::h"),
        ("tests/f/main.rs", "h"),
        ("src/lib.rs", "tests::e"),
    ] {
        assert!(!exists(&listed, path, name), "{path} {name}");
    }
}

/// T074. Timing is not measurable on a busy machine, so the test checks the source: types with
/// secrets have no derived comparison, and their own comparisons use `subtle`.
#[test]
fn locks_are_not_held_across_await() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // T079: clippy rejects a guard that lives across an await; it runs in `.ci/run`.
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nawait_holding_lock = \"deny\"\n"));
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(
        ci.contains(
            "cargo clippy --locked --workspace --all-targets --all-features -- -D warnings"
        )
    );
    // T078: each lock of the engine recovers from poisoning.
    let folders = ["engine", "enrollment", "events", "login", "polling", "session"];
    for path in folders.iter().flat_map(|folder| sources(root.join("src").join(folder))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        // `self.lock()` is the type's own method, which is checked itself.
        let code = code.replace("self.lock()", "");
        let bare = code.split(".lock()").skip(1).find(|rest| {
            let rest = rest.trim_start();
            // tokio's locks are not poisoned by a panic.
            !rest.starts_with(".unwrap_or_else(PoisonError::into_inner)")
                && !rest.starts_with(".await")
        });
        assert!(bare.is_none(), "{} takes a lock that may be poisoned", path.display());
    }
}

#[test]
fn secrets_are_compared_in_constant_time() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let secret = std::fs::read_to_string(root.join("secret.rs")).unwrap();
    let by_hand = secret.split("impl PartialEq for Secret").nth(1).unwrap();
    assert!(by_hand.split("\n}").next().unwrap().contains(".ct_eq("));
    let signing = std::fs::read_to_string(root.join("protocol/signing.rs")).unwrap();
    let check = signing.split("fn verify").nth(1).unwrap();
    assert!(check.split("\n    }").next().unwrap().contains(".ct_eq(&self.signature)"));
    let key_ring = std::fs::read_to_string(root.join("session/key_ring.rs")).unwrap();
    let check = key_ring.split("fn verifies(&self, kind: CredentialKind, bytes").nth(1).unwrap();
    assert!(check.split("\n    }").next().unwrap().contains(".ct_eq(code)"));
    let sources = sources(root);
    for path in &sources {
        let text = std::fs::read_to_string(path).unwrap();
        let derived = comparable(&text).next();
        assert_eq!(derived, None, "{} derives a comparison", path.display());
    }
    assert!(sources.len() > 30, "{} files", sources.len());
    for bad in [
        "#[derive(Clone, PartialEq)]\npub struct A(Zeroizing<String>);",
        "#[derive(PartialEq, Eq)]\nstruct B {\n    name: String,\n    bits: Zeroizing<[u8; 32]>,\n}",
    ] {
        assert_eq!(comparable(bad).count(), 1, "{bad}");
    }
    // A field of type `Secret` uses that type's comparison.
    assert_eq!(comparable("#[derive(PartialEq)]\nstruct C(Secret);").count(), 0);
}

/// The Rust files of a folder, recursively.
fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The types with zeroized memory that derive a comparison.
fn comparable(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[derive(").skip(1).filter(|after| {
        let (derived, rest) = after.split_once(")]").unwrap_or_default();
        let end = rest.find("}\n").into_iter().chain(rest.find(";\n")).min();
        let body = &rest[..end.unwrap_or(rest.len())];
        derived.contains("PartialEq") && body.contains("Zeroizing<")
    })
}
