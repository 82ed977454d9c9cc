//! axe-core, which checks a page's accessibility.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::path::Path;

use super::chromium::Tab;

/// The script that `scripts/test` installs with npm (see tests/it/browser/libraries.txt).
const AXE: &str = "target/browser-libraries/node_modules/axe-core/axe.min.js";
/// Checks WCAG 2.2 AA and axe-core's best practices.
const RUN: &str = "axe.run({ runOnly: [
    'wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice',
] }).then((result) => result.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)))";

/// The accessibility violations of the current page, a line for each element. Returns none and
/// prints a note if axe-core is not installed. axe-core needs timers: a tab without scripts needs
/// [`Tab::enable_scripts`] once the page is loaded.
pub(crate) async fn violations(tab: &Tab) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(AXE);
    let Ok(script) = std::fs::read_to_string(&path) else {
        println!("{} is missing; scripts/test installs it", path.display());
        return Vec::new();
    };
    // DevTools inject the script, so that the page's content security policy does not apply.
    tab.eval(&script).await;
    serde_json::from_value(tab.eval(RUN).await).unwrap()
}
