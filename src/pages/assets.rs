//! The assets of the pages: style sheets, scripts, the logo. The name of each has a hash of its
//! content, so that browsers cache it without revalidation. Only the script for the application's
//! own pages has a fixed name.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::color::Color;
use super::theme::{CheckedLogo, CheckedTheme};

const STYLE_CSS: &str = include_str!("assets/style.css");
const FOLLOW_JS: &str = include_str!("assets/follow.js");
const GUARD_JS: &str = include_str!("assets/guard.js");
const RESTORED_JS: &str = include_str!("assets/restored.js");
const TIMES_JS: &str = include_str!("assets/times.js");

/// The backgrounds in `style.css` on which text in the accent color has the least contrast: the page
/// in the light scheme, and the card in the dark scheme.
const LIGHT_PAGE: Color = Color::new(0xf3, 0xf4, 0xf6);
const DARK_CARD: Color = Color::new(0x1c, 0x1d, 0x20);
const CSS_MEDIA_TYPE: &str = "text/css; charset=utf-8";
const JAVASCRIPT_MEDIA_TYPE: &str = "text/javascript; charset=utf-8";
/// The fixed name of the script that guards the application's own pages.
const GUARD_FILE: &str = "guard.js";

/// The length of the hash in a name, in bytes of the SHA-256.
const HASH_LEN: usize = 8;

/// A file that the routes serve.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    extension: &'static str,
    hash: String,
    pub(crate) media_type: &'static str,
    pub(crate) content: Bytes,
}

impl Asset {
    fn new(
        name: &'static str,
        extension: &'static str,
        media_type: &'static str,
        content: impl Into<Bytes>,
    ) -> Self {
        let content = content.into();
        let digest = Sha256::digest(&content);
        let hash = digest.iter().take(HASH_LEN).map(|byte| format!("{byte:02x}")).collect();
        Self { name, extension, hash, media_type, content }
    }

    /// `style.0123456789abcdef.css`.
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}.{}", self.name, self.hash, self.extension)
    }

    /// The `ETag`, which changes with the content.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", self.hash)
    }
}

/// All files of a renderer.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) custom_style: Option<Asset>,
    pub(super) follow: Asset,
    guard: Asset,
    pub(super) restored: Asset,
    pub(super) times: Asset,
    pub(super) logo: Option<Asset>,
    pub(super) icon: Asset,
}

impl Assets {
    pub(super) fn new(theme: &CheckedTheme) -> Self {
        let logo = match &theme.logo {
            Some(CheckedLogo::Bytes { media_type, extension, bytes }) => {
                Some(Asset::new("logo", extension, media_type, bytes.clone()))
            }
            Some(CheckedLogo::Path(_)) | None => None,
        };
        let custom_css = theme.custom_css.clone();
        Self {
            style: Asset::new(
                "style",
                "css",
                CSS_MEDIA_TYPE,
                accent_variables(theme.accent) + STYLE_CSS,
            ),
            custom_style: custom_css.map(|css| Asset::new("custom", "css", CSS_MEDIA_TYPE, css)),
            follow: Asset::new("follow", "js", JAVASCRIPT_MEDIA_TYPE, FOLLOW_JS),
            guard: Asset::new("guard", "js", JAVASCRIPT_MEDIA_TYPE, compact(GUARD_JS)),
            restored: Asset::new("restored", "js", JAVASCRIPT_MEDIA_TYPE, RESTORED_JS),
            times: Asset::new("times", "js", JAVASCRIPT_MEDIA_TYPE, TIMES_JS),
            logo,
            icon: Asset::new("icon", "svg", "image/svg+xml", icon(theme.accent)),
        }
    }

    /// The file of this name, and whether the hash in the name matches its content. A page from before
    /// an update has an outdated hash, and gets the current file.
    pub(super) fn find(&self, file_name: &str) -> Option<(&Asset, bool)> {
        if file_name == GUARD_FILE {
            return Some((&self.guard, false));
        }
        let (name, rest) = file_name.split_once('.')?;
        let (hash, extension) = rest.split_once('.')?;
        let required = [&self.style, &self.follow, &self.restored, &self.times, &self.icon];
        let mut all = required.into_iter().chain(&self.custom_style).chain(&self.logo);
        let found = all.find(|asset| asset.name == name && asset.extension == extension)?;
        Some((found, found.hash == hash))
    }
}

/// The script without comments, line breaks and spaces that do not separate words. Each comment must
/// have its own line, no line may end within a statement that needs the space, and the script must have
/// neither escaped quotes nor regular expressions.
fn compact(script: &str) -> String {
    let lines: String =
        script.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    let is_word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let mut stripped = String::with_capacity(lines.len());
    let (mut quote, mut last) = (None, None);
    let mut rest = lines.chars().peekable();
    while let Some(c) = rest.next() {
        match quote {
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        let is_between_words =
            last.as_ref().is_some_and(is_word) && rest.peek().is_some_and(is_word);
        if c != ' ' || quote.is_some() || is_between_words {
            stripped.push(c);
            last = Some(c);
        }
    }
    stripped
}

/// The icon of an application without a logo: a tick. Without an icon, browsers would request
/// `/favicon.ico`, a path of the application.
fn icon(accent: Color) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><rect width=\"16\" \
         height=\"16\" rx=\"4\" fill=\"{accent}\"/><path d=\"m4 8.5 3 3 5-6.5\" fill=\"none\" \
         stroke=\"{}\" stroke-width=\"2\"/></svg>",
        accent.text_color(),
    )
}

/// The variables of `style.css` that depend on the accent.
fn accent_variables(accent: Color) -> String {
    format!(
        ":root{{--accent:{accent};--on-accent:{};--accent-on-light:{};--accent-on-dark:{}}}\n",
        accent.text_color(),
        accent.readable_on(LIGHT_PAGE),
        accent.readable_on(DARK_CARD),
    )
}

#[cfg(test)]
mod tests {
    use super::super::theme::{Logo, Theme};
    use super::*;

    fn assets(theme: Theme) -> Assets {
        Assets::new(&theme.check().unwrap())
    }

    #[test]
    fn hash_follows_the_content() {
        let names = |theme| {
            let assets = assets(theme);
            (assets.style.file_name(), assets.follow.file_name())
        };
        let (plain, script) = names(Theme::new());
        assert_eq!(names(Theme::new()), (plain.clone(), script.clone()));
        let (green, same) = names(Theme::new().accent("#0a7"));
        assert_ne!(green, plain);
        assert_eq!(same, script);
    }

    #[test]
    fn unknown_hash_finds_the_current_file() {
        let assets = assets(Theme::new().logo(Logo::bytes("image/png", &b"png"[..])));
        let current = assets.logo.as_ref().unwrap().file_name();
        let find = |name: &str| {
            assets.find(name).map(|(asset, is_current)| (asset.content.clone(), is_current))
        };
        let content = Bytes::from_static(b"png");
        assert_eq!(find(&current), Some((content.clone(), true)));
        assert_eq!(find("logo.0000000000000000.png"), Some((content, false)));
        for unknown in [
            "logo.png",
            "logo..svg",
            "custom.0.css",
            "style",
            "",
            ".",
            "../style.0.css",
            "guard.0.js",
        ] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }

    /// Every page of the application may load the script.
    #[test]
    fn guard_script_is_small() {
        let size = assets(Theme::new()).guard.content.len();
        assert!(size <= 3_072, "{size} bytes");
    }

    #[test]
    fn compact_keeps_strings_and_words() {
        let script = r#"
            // A comment.
            const one = () => ({ a: "b , c", d });
            return new Date() - `x  y`;
            "#;
        assert_eq!(compact(script), r#"const one=()=>({a:"b , c",d});return new Date()-`x  y`;"#);
    }

    #[test]
    fn colors_of_the_style_sheet_are_readable() {
        let (light, dark) = STYLE_CSS.split_once("(prefers-color-scheme: dark)").unwrap();
        assert!(light.contains(&format!("--page: {LIGHT_PAGE};")));
        assert!(dark.contains(&format!("--card: {DARK_CARD};")));
        for sheet in [light, dark] {
            let color = |name: &str| {
                let (_, rest) = sheet.split_once(&format!("--{name}: ")).unwrap();
                Color::parse(rest.split(';').next().unwrap()).unwrap()
            };
            for background in [color("page"), color("card")] {
                for (name, minimum) in
                    [("text", 4.5), ("faint", 4.5), ("good", 4.5), ("bad", 4.5), ("field", 3.0)]
                {
                    let contrast = color(name).contrast(background);
                    assert!(contrast >= minimum, "{name} on {background}: {contrast}");
                }
                for accent in ["#ffffff", "#000000", "#ffd400", "#00aa77", "#1f5fd6", "#777777"] {
                    let accent = Color::parse(accent).unwrap();
                    let reference = if sheet == light { LIGHT_PAGE } else { DARK_CARD };
                    let contrast = accent.readable_on(reference).contrast(background);
                    assert!(contrast >= 4.5, "{accent} on {background}: {contrast}");
                }
            }
        }
    }

    #[test]
    fn accent_is_readable_on_its_backgrounds() {
        let variables = accent_variables(Color::parse("#ffd400").unwrap());
        assert!(variables.contains("--accent:#ffd400;--on-accent:#000000;"), "{variables}");
    }
}
