//! axe-core, which judges whether a page is accessible.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::path::Path;

use super::chromium::Tab;

/// What `scripts/test` has npm install, as tests/it/browser/libraries.txt lists it.
const AXE: &str = "target/browser-libraries/node_modules/axe-core/axe.min.js";
/// WCAG 2.2 AA, and what is good practice besides.
const RUN: &str = "axe.run({ runOnly: [
    'wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice',
] }).then((result) => result.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)))";

/// What axe-core finds wrong with the page as it is now, a line for each element. Nothing, and a
/// word, where axe-core is not installed. It is a script with timers: a tab without scripts needs
/// [`Tab::enable_scripts`] once the page is loaded.
pub(crate) async fn violations(tab: &Tab) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(AXE);
    let Ok(script) = std::fs::read_to_string(&path) else {
        println!("there is no {}; scripts/test installs it", path.display());
        return Vec::new();
    };
    // Given to the tab by its tools, so that the page's content security policy does not matter.
    tab.eval(&script).await;
    serde_json::from_value(tab.eval(RUN).await).unwrap()
}
