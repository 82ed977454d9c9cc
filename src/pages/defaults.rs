//! The crate's own pages, and the trait that replaces them.

use askama::Template;

use super::context::{
    ConfirmPage, ErrorPage, Layout, LoginPage, RegisteringPage, RegistrationPage, SessionsPage,
    SuspendedPage, WaitingPage,
};

/// The HTML of a page. On an error, the gate logs it and responds with 500.
pub type PageResult = Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// The pages of the gate, for [`ActiveconnectBuilder::pages`](crate::ActiveconnectBuilder::pages).
/// The default of each method is the crate's own page: implement the methods of the pages to replace.
///
/// Every text of a context is in the user's language. The content security policy of each page allows
/// the style sheets, scripts and images of this site and nothing inline.
///
/// The waiting page from an application's template:
///
/// ```
/// use askama::Template;
/// use tower_activeconnect::pages::{PageResult, Pages, WaitingPage};
///
/// #[derive(Template)]
/// #[template(ext = "html", source = r#"<!doctype html>
/// <html lang="{{ page.layout.lang }}" dir="{{ page.layout.dir }}">
/// <head><meta charset="utf-8"><title>{{ page.layout.title }}</title>
/// <link rel="icon" href="{{ page.layout.icon }}">
/// <link rel="stylesheet" href="/acme.css">
/// <script src="{{ page.layout.script }}" defer></script>
/// {% if let Some(login) = page.login %}
/// <noscript><meta http-equiv="refresh" content="3"></noscript>
/// <script src="{{ login.follow.script }}" defer></script>
/// {% endif %}</head>
/// <body><h1>{{ page.heading }}</h1>
/// {% if let Some(login) = page.login %}
/// <div data-follow data-events="{{ login.follow.events }}" data-status="{{ login.follow.status }}"
///   data-pending="{{ page.lead }}" data-active="{{ login.approved }}">
/// <p role="status" data-state>{{ page.lead }}</p>
/// <p>{{ login.name_label }}: <bdi>{{ login.name }}</bdi></p></div>
/// {% endif %}
/// <a href="{{ page.start_again.url }}">{{ page.start_again.text }}</a></body></html>"#)]
/// struct AcmeWaiting<'a> { page: &'a WaitingPage }
///
/// struct AcmePages;
///
/// impl Pages for AcmePages {
///     fn waiting(&self, page: &WaitingPage) -> PageResult {
///         Ok(AcmeWaiting { page }.render()?)
///     }
/// }
///
/// # fn example(builder: tower_activeconnect::ActiveconnectBuilder) -> tower_activeconnect::ActiveconnectBuilder {
/// builder.pages(AcmePages)
/// # }
/// ```
pub trait Pages: Send + Sync + 'static {
    /// The form for the user name.
    fn login(&self, page: &LoginPage) -> PageResult {
        Ok(LoginTemplate { layout: &page.layout, page }.render()?)
    }

    /// Waits for the phone, or reports that the login has ended.
    fn waiting(&self, page: &WaitingPage) -> PageResult {
        Ok(WaitingTemplate { layout: &page.layout, page }.render()?)
    }

    /// Waits for the phone to return.
    fn locked(&self, page: &SuspendedPage) -> PageResult {
        Ok(LockedTemplate { layout: &page.layout, page }.render()?)
    }

    /// The form with which the user of a session confirms on the phone.
    fn confirm(&self, page: &ConfirmPage) -> PageResult {
        Ok(ConfirmTemplate { layout: &page.layout, page }.render()?)
    }

    /// Lists the sessions of the user.
    fn sessions(&self, page: &SessionsPage) -> PageResult {
        Ok(SessionsTemplate { layout: &page.layout, page }.render()?)
    }

    /// Shows a registration link.
    fn registration(&self, page: &RegistrationPage) -> PageResult {
        Ok(RegistrationTemplate { layout: &page.layout, page }.render()?)
    }

    /// Waits for a phone to register, without the link.
    fn registering(&self, page: &RegisteringPage) -> PageResult {
        Ok(RegisteringTemplate { layout: &page.layout, page }.render()?)
    }

    /// Shows the reason of a rejection or a denial.
    fn error(&self, page: &ErrorPage) -> PageResult {
        Ok(ErrorTemplate { layout: &page.layout, page }.render()?)
    }
}

/// All of the crate's pages.
pub(super) struct DefaultPages;

impl Pages for DefaultPages {}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginTemplate<'a> {
    layout: &'a Layout,
    page: &'a LoginPage,
}

#[derive(Template)]
#[template(path = "waiting.html")]
struct WaitingTemplate<'a> {
    layout: &'a Layout,
    page: &'a WaitingPage,
}

#[derive(Template)]
#[template(path = "locked.html")]
struct LockedTemplate<'a> {
    layout: &'a Layout,
    page: &'a SuspendedPage,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmTemplate<'a> {
    layout: &'a Layout,
    page: &'a ConfirmPage,
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsTemplate<'a> {
    layout: &'a Layout,
    page: &'a SessionsPage,
}

#[derive(Template)]
#[template(path = "registration.html")]
struct RegistrationTemplate<'a> {
    layout: &'a Layout,
    page: &'a RegistrationPage,
}

#[derive(Template)]
#[template(path = "registering.html")]
struct RegisteringTemplate<'a> {
    layout: &'a Layout,
    page: &'a RegisteringPage,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    layout: &'a Layout,
    page: &'a ErrorPage,
}
