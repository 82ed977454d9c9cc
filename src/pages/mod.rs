//! The pages of the gate: their templates, themes and languages.
//!
//! [`Theme`] sets a name, a logo and a color, and
//! [`ActiveconnectBuilder::texts`](crate::ActiveconnectBuilder::texts) replaces texts. [`Pages`] is for
//! the application's own templates: each method gets a context with everything that its page shows.
//! `docs/pages.md` has recipes.

mod assets;
mod color;
mod context;
mod defaults;
mod setup_error;
mod texts;
mod theme;
mod timestamps;
mod view;

use std::fmt;
use std::sync::{Arc, LazyLock};

pub(crate) use self::assets::Asset;
use self::assets::Assets;
pub use self::context::{
    ConfirmPage, ErrorPage, Follow, KnownUser, Layout, Link, ListedSession, LoginPage, Moment,
    PendingLogin, RegisteringPage, RegistrationPage, RegistrationWait, SessionsPage, SuspendedPage,
    WaitingPage,
};
use self::defaults::DefaultPages;
pub use self::defaults::{PageResult, Pages};
pub(crate) use self::setup_error::SetupError;
pub(crate) use self::texts::LanguageChoice;
use self::texts::Texts;
use self::theme::CheckedTheme;
pub use self::theme::{Logo, Theme};
pub(crate) use self::timestamps::rfc3339;
pub(crate) use self::view::{
    LoginFacts, PageError, PageWait, RegistrationFacts, SessionFacts, SessionNotice,
    SessionsAddresses, SiteAddresses, UnreadCookies, View,
};

/// The content security policy of the pages: only files of this site, and nothing inline.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                      img-src 'self'; connect-src 'self'; form-action 'self'; \
                                      frame-ancestors 'none'; base-uri 'none'";

/// The settings of the builder for the pages.
#[derive(Default)]
pub(crate) struct PageSetup {
    pub(crate) theme: Option<Theme>,
    pub(crate) language: Option<String>,
    /// Pairs of a language and its Fluent texts.
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) pages: Option<Box<dyn Pages>>,
}

/// Renders the HTML of all pages.
pub(crate) struct PageRenderer {
    theme: CheckedTheme,
    texts: Texts,
    assets: Assets,
    pages: Box<dyn Pages>,
}

/// The renderer with default settings, which all engines without page settings share.
static DEFAULT_RENDERER: LazyLock<Arc<PageRenderer>> = LazyLock::new(|| {
    let pages = Box::new(DefaultPages);
    Arc::new(PageRenderer::new(CheckedTheme::default(), Texts::built_in(), pages))
});

impl PageSetup {
    pub(crate) fn renderer(self) -> Result<Arc<PageRenderer>, SetupError> {
        let Self { theme, language, texts: own_texts, pages } = self;
        if theme.is_none() && language.is_none() && own_texts.is_empty() && pages.is_none() {
            return Ok(DEFAULT_RENDERER.clone());
        }
        let mut texts = Texts::built_in();
        for (language, own) in own_texts {
            texts.add(&language, &own)?;
        }
        if let Some(language) = language {
            texts.set_default(&language)?;
        }
        let theme = theme.map(Theme::check).transpose()?.unwrap_or_default();
        let pages = pages.unwrap_or_else(|| Box::new(DefaultPages));
        Ok(Arc::new(PageRenderer::new(theme, texts, pages)))
    }
}

impl PageRenderer {
    fn new(theme: CheckedTheme, texts: Texts, pages: Box<dyn Pages>) -> Self {
        Self { assets: Assets::new(&theme), theme, texts, pages }
    }

    /// The renderer of the crate's own pages with default settings.
    pub(crate) fn default_pages() -> Arc<Self> {
        DEFAULT_RENDERER.clone()
    }

    /// The language for a request with this query and `Accept-Language`.
    pub(crate) fn choose_language(
        &self,
        query: Option<&str>,
        accept_language: Option<&str>,
    ) -> LanguageChoice {
        self.texts.choose(query, accept_language)
    }

    /// The language of a page that is rendered without a request.
    pub(crate) fn default_language(&self) -> LanguageChoice {
        self.texts.default_choice()
    }

    /// An address of the crate's pages, with `lang` in the query if the request had it.
    pub(crate) fn with_language(&self, address: String, choice: LanguageChoice) -> String {
        self.texts.with_language(address, choice)
    }

    /// The file of this name, and whether the hash in the name matches its content.
    pub(crate) fn asset(&self, file_name: &str) -> Option<(&Asset, bool)> {
        self.assets.find(file_name)
    }
}

impl fmt::Debug for PageSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageSetup").field("theme", &self.theme).finish_non_exhaustive()
    }
}

impl fmt::Debug for PageRenderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRenderer").field("theme", &self.theme).finish_non_exhaustive()
    }
}
