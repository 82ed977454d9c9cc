//! What people see: the pages of a login, their look and their languages.
//!
//! [`Theme`] gives the pages a name, a logo and a color, and
//! [`ActiveconnectBuilder::texts`](crate::ActiveconnectBuilder::texts) other words. [`Pages`] is for templates of the
//! application's own: each method gets a context with all that its page shows. `docs/pages.md` has
//! recipes.

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

/// The content security policy of the pages: nothing but files of this site, and nothing inline.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                      img-src 'self'; connect-src 'self'; form-action 'self'; \
                                      frame-ancestors 'none'; base-uri 'none'";

/// What the builder is told of the pages.
#[derive(Default)]
pub(crate) struct PageSetup {
    pub(crate) theme: Option<Theme>,
    pub(crate) language: Option<String>,
    /// A language and its Fluent text each.
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) pages: Option<Box<dyn Pages>>,
}

/// Makes the HTML of all pages.
pub(crate) struct PageRenderer {
    theme: CheckedTheme,
    texts: Texts,
    assets: Assets,
    pages: Box<dyn Pages>,
}

/// Most engines have the pages as they are: these are made once.
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

    /// The crate's pages as they are.
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

    /// The language of a page that no request is known of.
    pub(crate) fn default_language(&self) -> LanguageChoice {
        self.texts.default_choice()
    }

    /// An address of the crate's pages, which asks for the language that its visitor has asked for.
    pub(crate) fn with_language(&self, address: String, choice: LanguageChoice) -> String {
        self.texts.with_language(address, choice)
    }

    /// The file that is called so, and whether it is what it was when a page named it.
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
