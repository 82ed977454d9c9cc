//! Shared code of the benches: times rows in interleaved rounds, counts allocations, counts
//! instructions with callgrind, and writes a table and JSON.
//!
//! Times vary with the machine, so compare only ratios and differences within one run. Instruction
//! counts are reproducible.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]
#![allow(dead_code, reason = "each bench uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub(crate) mod service;

/// Prepares the input of this many turns, and returns the closure to measure.
pub(crate) type Prepare = Box<dyn FnMut(u64) -> Box<dyn FnOnce()>>;

/// One measured case.
pub(crate) struct Case {
    name: &'static str,
    /// The case to subtract: the same without a gate.
    over: Option<&'static str>,
    /// The case to compare with.
    baseline: Option<&'static str>,
    /// Whether the case hashes once. Callgrind does not support SHA instructions, so the hash is
    /// counted separately.
    hashes: bool,
    prepare: Prepare,
}

impl Case {
    pub(crate) fn new(name: &'static str, prepare: Prepare) -> Self {
        Self { name, over: None, baseline: None, hashes: false, prepare }
    }

    pub(crate) fn over(self, name: &'static str) -> Self {
        Self { over: Some(name), ..self }
    }

    pub(crate) fn against(self, baseline: &'static str) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    pub(crate) fn hashes(self) -> Self {
        Self { hashes: true, ..self }
    }
}

/// The name of the row that only hashes.
pub(crate) const HASH: &str = "SHA-256 of 32 bytes";

/// The duration or number of turns between two clock reads. About equal for all cases, because
/// longer cases would be interrupted more often. Inputs are prepared before.
const BATCH_DURATION: Duration = Duration::from_micros(300);
const MOST: u32 = 300;
const ROUNDS: usize = 1_000;
/// The number of turns for counting allocations and instructions.
const COUNTED_TURNS: u64 = 1_000;

#[derive(Clone, Copy, Default)]
struct Figures {
    ns: f64,
    /// The nanoseconds above the subtracted case.
    added_ns: Option<f64>,
    /// The ratio to what the baseline adds.
    ratio: Option<f64>,
    instructions: Option<f64>,
    allocations: f64,
}

/// `cargo bench` runs in full; `cargo test` only tries the bench.
pub(crate) fn is_full_run() -> bool {
    has("--bench") && !has("--quick")
}

fn has(argument: &str) -> bool {
    std::env::args().any(|given| given == argument)
}

/// Measures all cases, prints the table, and returns the rows for [`write`].
///
/// `--instructions` counts only instructions.
pub(crate) fn measure(bench: &str, mut cases: Vec<Case>) -> Vec<Value> {
    if has("--counted") {
        let only =
            std::env::args().find_map(|given| Some(given.strip_prefix("--only=")?.to_owned()));
        for case in &mut cases {
            if only.as_ref().is_none_or(|only| only == case.name) {
                count(case);
            }
        }
        // Skips dropping the sessions, which is slow under valgrind.
        std::process::exit(0);
    }
    let only_instructions = has("--instructions");
    let instructions = if only_instructions || is_full_run() { instructions(bench) } else { None };
    let mut measurement = vec![Figures::default(); cases.len()];
    if let Some(counts) = instructions {
        assert_eq!(counts.len(), cases.len(), "callgrind saw other cases");
        for (measurement, count) in measurement.iter_mut().zip(counts) {
            measurement.instructions = Some(count);
        }
    }
    if !only_instructions {
        time(&mut cases, &mut measurement);
    }
    let rows = rows(&cases, &measurement);
    print(&rows);
    rows
}

/// Measures only times and allocations, for cases that wait for another thread.
pub(crate) fn measure_times(mut cases: Vec<Case>) -> Vec<Value> {
    let mut measurement = vec![Figures::default(); cases.len()];
    time(&mut cases, &mut measurement);
    let rows = rows(&cases, &measurement);
    print(&rows);
    rows
}

/// Medians over rounds in which all cases take turns, and allocations. Differences and ratios are
/// computed within each round, because the speed of the machine varies between rounds.
fn time(cases: &mut [Case], measurement: &mut [Figures]) {
    let rounds = if is_full_run() { ROUNDS } else { 3 };
    let took = |case: &mut Case, turns| {
        let run = (case.prepare)(turns);
        let started_at = Instant::now();
        run();
        started_at.elapsed()
    };
    let turns: Vec<u64> = cases
        .iter_mut()
        .map(|case| {
            let one = (0..9).map(|_| took(case, 1)).min().unwrap();
            (BATCH_DURATION.as_nanos() / one.as_nanos().max(1)).clamp(1, MOST.into()) as u64
        })
        .collect();
    let (over, baseline) = (indices(cases, |case| case.over), indices(cases, |case| case.baseline));
    let mut samples = vec![Samples::default(); cases.len()];
    for _ in 0..rounds {
        let ns: Vec<f64> = cases
            .iter_mut()
            .zip(&turns)
            .map(|(case, turns)| took(case, *turns).as_secs_f64() * 1e9 / *turns as f64)
            .collect();
        let added = |at: usize| Some(ns[at] - ns[over[at]?]);
        for (at, samples) in samples.iter_mut().enumerate() {
            samples.ns.push(ns[at]);
            samples.added.extend(added(at));
            samples.ratios.extend(added(at).zip(baseline[at].and_then(added)).map(|(a, b)| a / b));
        }
    }
    for (((case, samples), turns), measurement) in
        cases.iter_mut().zip(samples).zip(turns).zip(measurement)
    {
        measurement.ns = median(samples.ns).unwrap_or_default();
        measurement.added_ns = median(samples.added);
        measurement.ratio = median(samples.ratios);
        let counted = allocation_counter::measure((case.prepare)(turns)).count_total;
        measurement.allocations = counted as f64 / turns as f64;
    }
}

/// The times of one case in each round.
#[derive(Clone, Default)]
struct Samples {
    ns: Vec<f64>,
    added: Vec<f64>,
    ratios: Vec<f64>,
}

/// The index of the case that each case names.
fn indices(cases: &[Case], named: fn(&Case) -> Option<&'static str>) -> Vec<Option<usize>> {
    let find = |name| cases.iter().position(|case| case.name == name);
    cases.iter().map(|case| find(named(case)?)).collect()
}

/// The median; `None` for an empty list.
pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

fn count(case: &mut Case) {
    (case.prepare)(100)();
    let mut run = Some((case.prepare)(COUNTED_TURNS));
    reset_callgrind_counters();
    counted_by_callgrind(&mut || run.take().unwrap()());
}

/// Callgrind resets its counters before this function, which it finds by name.
#[inline(never)]
fn reset_callgrind_counters() {
    std::hint::black_box(());
}

/// Callgrind dumps its counters after this function, which it finds by name.
#[inline(never)]
fn counted_by_callgrind(run: &mut dyn FnMut()) {
    run();
}

/// The instructions per turn of each case: runs this program under callgrind, which writes a file
/// for each case. `None` without valgrind.
fn instructions(bench: &str) -> Option<Vec<f64>> {
    let folder = folder().join(format!("callgrind-{bench}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--zero-before=*reset_callgrind_counters*"])
        .arg("--dump-after=*counted_by_callgrind*")
        .arg(format!("--callgrind-out-file={}", folder.join("out").display()))
        .arg(std::env::current_exe().unwrap())
        .arg("--counted")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let Ok(ran) = ran else {
        println!("without valgrind no instructions are counted");
        return None;
    };
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let mut counts = Vec::new();
    let file = |part| folder.join(format!("out.{part}"));
    while let Ok(text) = std::fs::read_to_string(file(counts.len() + 1)) {
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        counts.push(total.trim().parse::<f64>().unwrap() / COUNTED_TURNS as f64);
    }
    Some(counts)
}

fn rows(cases: &[Case], measurement: &[Figures]) -> Vec<Value> {
    let find = |name| {
        let at = cases.iter().position(|case| case.name == name)?;
        Some((&cases[at], measurement[at]))
    };
    let hash = find(HASH).and_then(|(_, hash)| hash.instructions).unwrap_or(0.0);
    let added_by = |(case, own): (&Case, Figures)| {
        let (_, over) = find(case.over?)?;
        let hash = if case.hashes { hash } else { 0.0 };
        Some(Figures {
            ns: own.added_ns.unwrap_or_default(),
            instructions: own.instructions.zip(over.instructions).map(|(a, b)| a - b - hash),
            allocations: own.allocations - over.allocations,
            ..Figures::default()
        })
    };
    let mut rows = Vec::new();
    for (case, &own) in cases.iter().zip(measurement) {
        let mut row = Map::new();
        row.insert("name".into(), case.name.into());
        put(&mut row, ["median_ns", "instructions", "allocations"], own);
        if let Some(added) = added_by((case, own)) {
            put(&mut row, ["added_ns", "added_instructions", "added_allocations"], added);
            if let Some(baseline) = case.baseline.and_then(find).and_then(added_by) {
                if let Some(ratio) = own.ratio {
                    row.insert("ratio".into(), round(ratio, 3));
                }
                if let Some((own, baseline)) = added.instructions.zip(baseline.instructions) {
                    row.insert("instruction_ratio".into(), round(own / baseline, 3));
                }
                let more = added.allocations - baseline.allocations;
                row.insert("allocations_over_baseline".into(), round(more, 2));
            }
        }
        rows.push(row.into());
    }
    rows
}

fn put(row: &mut Map<String, Value>, [ns, instructions, allocations]: [&str; 3], of: Figures) {
    if of.ns != 0.0 {
        row.insert(ns.into(), round(of.ns, 1));
        row.insert(allocations.into(), round(of.allocations, 2));
    }
    if let Some(count) = of.instructions {
        row.insert(instructions.into(), round(count, 1));
    }
}

fn round(number: f64, digits: i32) -> Value {
    let by = 10_f64.powi(digits);
    json!((number * by).round() / by)
}

const COLUMNS: [(&str, &str); 8] = [
    ("median_ns", "ns"),
    ("added_ns", "added ns"),
    ("ratio", "to baseline"),
    ("instructions", "instr."),
    ("added_instructions", "added, no hash"),
    ("instruction_ratio", "to baseline"),
    ("allocations", "alloc."),
    ("allocations_over_baseline", "over baseline"),
];

fn print(rows: &[Value]) {
    let widths = COLUMNS.map(|(_, title)| title.len().max(9));
    let titles = COLUMNS.iter().zip(widths).map(|((_, title), width)| format!(" {title:>width$}"));
    println!("{:<34}{}", "", titles.collect::<String>());
    for row in rows {
        let cells = COLUMNS.iter().zip(widths).map(|((key, _), width)| {
            let cell = row[key].as_f64().map(|number| number.to_string()).unwrap_or_default();
            format!(" {cell:>width$}")
        });
        println!("{:<34}{}", row["name"].as_str().unwrap(), cells.collect::<String>());
    }
}

/// Writes `target/bench/NAME.json`, or `NAME-instructions.json` for instruction counts.
pub(crate) fn write(bench: &str, rows: &[Value]) {
    let text = serde_json::to_string_pretty(rows).unwrap();
    let context = if has("--instructions") { "-instructions" } else { "" };
    std::fs::write(folder().join(format!("{bench}{context}.json")), text + "\n").unwrap();
}

fn folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    // One folder for all benches, also for the separate package.
    let root = own.ancestors().find(|folder| folder.join("benches/support").is_dir()).unwrap();
    let folder = root.join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
