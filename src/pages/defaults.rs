//! The pages as the crate has them.

use askama::Template;

use super::context::{
    ConfirmPage, ErrorPage, Layout, LoginPage, RegisteringPage, RegistrationPage, SessionsPage,
    SuspendedPage, WaitingPage,
};

/// The HTML of a page, or why there is none: the person then gets 500, and the log the reason.
pub type PageResult = Result<String, Box<dyn std::error::Error + Send + Sync>>;

/// The pages that people see, for [`ActiveconnectBuilder::pages`](crate::ActiveconnectBuilder::pages). Each method has a
/// default, which is the crate's own page: implement those that should look different.
///
/// Every text of a context is in the language of the person. A page is sent with a content security
/// policy that allows the style sheets, scripts and images of this site and nothing inline.
///
/// The waiting page in a template of the application's own:
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
    /// Asks who wants to log in.
    fn login(&self, page: &LoginPage) -> PageResult {
        Ok(LoginTemplate { layout: &page.layout, page }.render()?)
    }

    /// Waits for the phone, or says that the login is over.
    fn waiting(&self, page: &WaitingPage) -> PageResult {
        Ok(WaitingTemplate { layout: &page.layout, page }.render()?)
    }

    /// Waits for the phone to come back.
    fn locked(&self, page: &SuspendedPage) -> PageResult {
        Ok(LockedTemplate { layout: &page.layout, page }.render()?)
    }

    /// Has the user of a session confirm on the phone.
    fn confirm(&self, page: &ConfirmPage) -> PageResult {
        Ok(ConfirmTemplate { layout: &page.layout, page }.render()?)
    }

    /// Shows where a user is logged in.
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

    /// Says why something is refused.
    fn refused(&self, page: &ErrorPage) -> PageResult {
        Ok(RefusedTemplate { layout: &page.layout, page }.render()?)
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
#[template(path = "refused.html")]
struct RefusedTemplate<'a> {
    layout: &'a Layout,
    page: &'a ErrorPage,
}
