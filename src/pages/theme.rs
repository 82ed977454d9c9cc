//! The theme of the pages: name, logo, accent, links.

use bytes::Bytes;
use url::Url;

use super::color::Color;
use super::setup_error::SetupError;

/// The theme of the crate's pages, for
/// [`ActiveconnectBuilder::theme`](crate::ActiveconnectBuilder::theme). The builder validates it.
///
/// By default it has no name, no logo, a blue accent and no links.
///
/// ```
/// # use tower_activeconnect::ActiveconnectBuilder;
/// # use tower_activeconnect::pages::{Logo, Theme};
/// # fn example(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
/// builder.theme(
///     Theme::new()
///         .app_name("Acme")
///         .logo(Logo::path("/logo.svg"))
///         .accent("#0a7")
///         .sign_up_url("/register")
///         .support_url("mailto:help@acme.example")
///         .privacy_url("https://acme.example/privacy"),
/// )
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Theme {
    app_name: Option<String>,
    logo: Option<Logo>,
    accent: Option<String>,
    sign_up_url: Option<String>,
    support_url: Option<String>,
    privacy_url: Option<String>,
    custom_css: Option<String>,
}

/// The image at the top of each page.
#[derive(Clone, Debug)]
pub struct Logo(LogoSource);

#[derive(Clone, Debug)]
enum LogoSource {
    Bytes(String, Bytes),
    Path(String),
}

impl Logo {
    /// An image that the routes serve: SVG, PNG, JPEG, WebP, AVIF or GIF.
    pub fn bytes(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self(LogoSource::Bytes(media_type.into(), bytes.into()))
    }

    /// An image that the application serves, by its path on this site. The path must be outside the
    /// gate, because users see the login page before they log in.
    pub fn path(path: impl Into<String>) -> Self {
        Self(LogoSource::Path(path.into()))
    }
}

impl Theme {
    /// The default theme.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the application, shown at the top of each page and in its title.
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = Some(name.into());
        self
    }

    /// Sets the logo at the top of each page.
    pub fn logo(mut self, logo: Logo) -> Self {
        self.logo = Some(logo);
        self
    }

    /// Sets the color of buttons, links and the focus, as a CSS hex color such as `#0a7`. The text on
    /// buttons is black or white, whichever has more contrast. Text in the accent color is darkened
    /// on light and lightened on dark backgrounds until its contrast meets WCAG 2.2 AA.
    pub fn accent(mut self, color: impl Into<String>) -> Self {
        self.accent = Some(color.into());
        self
    }

    /// Sets the link for users without an account, which the login page shows.
    pub fn sign_up_url(mut self, url: impl Into<String>) -> Self {
        self.sign_up_url = Some(url.into());
        self
    }

    /// Sets the link to help, which each page shows.
    pub fn support_url(mut self, url: impl Into<String>) -> Self {
        self.support_url = Some(url.into());
        self
    }

    /// Sets the link to the privacy statement, which each page shows.
    pub fn privacy_url(mut self, url: impl Into<String>) -> Self {
        self.privacy_url = Some(url.into());
        self
    }

    /// Sets a style sheet that each page loads after the crate's own. It may set the variables of the
    /// crate's sheet: `--accent`, `--page`, `--card`, `--text`, `--faint`, `--line`,
    /// `--radius`.
    pub fn custom_css(mut self, css: impl Into<String>) -> Self {
        self.custom_css = Some(css.into());
        self
    }
}

/// A validated theme.
#[derive(Debug)]
pub(super) struct CheckedTheme {
    pub(super) app_name: Option<String>,
    pub(super) logo: Option<CheckedLogo>,
    pub(super) accent: Color,
    pub(super) sign_up_url: Option<String>,
    pub(super) support_url: Option<String>,
    pub(super) privacy_url: Option<String>,
    pub(super) custom_css: Option<String>,
}

#[derive(Debug)]
pub(super) enum CheckedLogo {
    Bytes { media_type: &'static str, extension: &'static str, bytes: Bytes },
    Path(String),
}

const DEFAULT_ACCENT: Color = Color::new(0x1f, 0x5f, 0xd6);

impl Default for CheckedTheme {
    fn default() -> Self {
        Self {
            app_name: None,
            logo: None,
            accent: DEFAULT_ACCENT,
            sign_up_url: None,
            support_url: None,
            privacy_url: None,
            custom_css: None,
        }
    }
}

/// The media types of logos, with their file extensions.
const IMAGES: [(&str, &str); 6] = [
    ("image/svg+xml", "svg"),
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/webp", "webp"),
    ("image/avif", "avif"),
    ("image/gif", "gif"),
];

impl Theme {
    pub(super) fn check(self) -> Result<CheckedTheme, SetupError> {
        let Self { app_name, logo, accent, sign_up_url, support_url, privacy_url, custom_css } =
            self;
        if let Some(name) = app_name.as_ref().filter(|name| name.trim().is_empty()) {
            return Err(invalid("app_name", name, "a name that is not blank"));
        }
        let accent = match accent {
            None => DEFAULT_ACCENT,
            Some(text) => Color::parse(&text).ok_or_else(|| {
                invalid("accent", &text, "a CSS hex color, such as #0a7 or #00aa77")
            })?,
        };
        Ok(CheckedTheme {
            app_name,
            logo: logo.map(Logo::check).transpose()?,
            accent,
            sign_up_url: check_link("sign_up_url", sign_up_url)?,
            support_url: check_link("support_url", support_url)?,
            privacy_url: check_link("privacy_url", privacy_url)?,
            custom_css,
        })
    }
}

impl Logo {
    fn check(self) -> Result<CheckedLogo, SetupError> {
        match self.0 {
            LogoSource::Path(path) if is_path(&path) => Ok(CheckedLogo::Path(path)),
            LogoSource::Path(path) => Err(invalid("logo", &path, "a path of this site")),
            LogoSource::Bytes(media_type, bytes) => {
                let known = IMAGES.iter().find(|(known, _)| *known == media_type);
                let (media_type, extension) = *known.ok_or_else(|| {
                    let expected = "image/svg+xml, image/png, image/jpeg, image/webp, image/avif \
                                    or image/gif";
                    invalid("logo", &media_type, expected)
                })?;
                Ok(CheckedLogo::Bytes { media_type, extension, bytes })
            }
        }
    }
}

/// Checks that a link has the scheme `http`, `https` or `mailto`, or is a path. Other schemes could
/// run a script.
fn check_link(setting: &'static str, link: Option<String>) -> Result<Option<String>, SetupError> {
    let Some(link) = link else { return Ok(None) };
    let is_absolute = || {
        let scheme = Url::parse(&link).map(|url| url.scheme().to_owned());
        scheme.is_ok_and(|scheme| ["http", "https", "mailto"].contains(&scheme.as_str()))
    };
    if is_path(&link) || is_absolute() {
        Ok(Some(link))
    } else {
        Err(invalid(setting, &link, "a http, https or mailto URL, or a path of this site"))
    }
}

fn is_path(path: &str) -> bool {
    let is_invalid = |c: char| c == '\\' || c.is_control() || c.is_whitespace();
    path.starts_with('/') && !path.starts_with("//") && !path.contains(is_invalid)
}

fn invalid(setting: &'static str, value: &str, expected: &'static str) -> SetupError {
    SetupError::Theme { setting, value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_sites_and_mailboxes() {
        for (link, is_allowed) in [
            ("/register?from=login#form", true),
            ("https://acme.example/privacy", true),
            ("http://acme.example", true),
            ("mailto:help@acme.example", true),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("/a b", false),
            ("register", false),
            ("javascript:alert(1)", false),
            (" javascript:alert(1)", false),
            ("JaVaScRiPt:alert(1)", false),
            ("data:text/html,x", false),
            ("", false),
        ] {
            for theme in [
                Theme::new().sign_up_url(link),
                Theme::new().support_url(link),
                Theme::new().privacy_url(link),
            ] {
                assert_eq!(theme.check().is_ok(), is_allowed, "{link:?}");
            }
        }
    }

    #[test]
    fn logo_is_an_image_or_a_path() {
        for (logo, is_allowed) in [
            (Logo::bytes("image/png", &b"png"[..]), true),
            (Logo::bytes("image/svg+xml", &b"<svg/>"[..]), true),
            (Logo::bytes("text/html", &b"<p>"[..]), false),
            (Logo::bytes("image/png; charset=x", &b"png"[..]), false),
            (Logo::path("/logo.svg"), true),
            (Logo::path("https://elsewhere.example/logo.svg"), false),
            (Logo::path("//elsewhere.example/logo.svg"), false),
        ] {
            let description = format!("{logo:?}");
            assert_eq!(Theme::new().logo(logo).check().is_ok(), is_allowed, "{description}");
        }
    }
}
