//! The contexts of the page templates. Every text is in the user's language, every address is one of
//! this site or of the theme.

use crate::Secret;

/// The parts that all pages share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Layout {
    /// The title of the document.
    pub title: String,
    /// The language, for `<html lang>`.
    pub lang: String,
    /// The direction of the language, `ltr` or `rtl`, for `<html dir>`.
    pub dir: &'static str,
    /// [`Theme::app_name`](crate::pages::Theme::app_name).
    pub app_name: Option<String>,
    /// The address of the [logo](crate::pages::Theme::logo).
    pub logo: Option<String>,
    /// The address of the icon of a tab: the logo, or the crate's icon.
    pub icon: String,
    /// The addresses of the style sheets, in order: the crate's, then the
    /// [application's](crate::pages::Theme::custom_css).
    pub style_sheets: Vec<String>,
    /// The address of a script that each page should load. It keeps browsers from restoring the page
    /// after the session has ended.
    pub script: String,
    /// [`Theme::support_url`](crate::pages::Theme::support_url).
    pub support: Option<Link>,
    /// [`Theme::privacy_url`](crate::pages::Theme::privacy_url).
    pub privacy: Option<Link>,
}

/// A link or a button, with its target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The address.
    pub url: String,
    /// The text.
    pub text: String,
}

/// `GET login`: the form for the user name. It posts `username`, unless the user is known, and `next`
/// to `action`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The reason why a login will probably fail, if there is one.
    pub warning: Option<String>,
    /// The user of the application's own login, with the text before the name. If present, the form
    /// has no field for the user name.
    pub known_user: Option<KnownUser>,
    /// The label of the field for the user name.
    pub username_label: String,
    /// The address to which the form posts.
    pub action: String,
    /// The value of the hidden field `next`: the redirect target after the login.
    pub next: String,
    /// The text of the button.
    pub submit: String,
    /// [`Theme::sign_up_url`](crate::pages::Theme::sign_up_url).
    pub sign_up: Option<Link>,
}

/// A user that a page names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownUser {
    /// The text before the name.
    pub lead: String,
    /// The application's id of the user. It may be written in another direction than the page, so
    /// put it into a `<bdi>`.
    pub name: String,
}

/// `GET waiting`: the status of a login that waits for the phone or has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitingPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The instruction to the user.
    pub lead: String,
    /// The pending login; `None` when it has ended. It does not depend on whether the user exists.
    pub login: Option<PendingLogin>,
    /// The heading of the help.
    pub help_heading: String,
    /// The steps to take if the phone shows no request.
    pub help: Vec<String>,
    /// The link to start a new login.
    pub start_again: Link,
}

/// A login that waits for the phone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PendingLogin {
    /// The label of the name.
    pub name_label: String,
    /// The name as the user entered it, or the user's id. It may be written in another direction than the
    /// page, so put it into a `<bdi>`.
    pub name: String,
    /// The label of the site.
    pub site_label: String,
    /// The host of this site, as the user knows it.
    pub site: String,
    /// The label of the time of the start.
    pub started_label: String,
    /// The start of the login in Unix milliseconds, which a script shows as local time.
    pub started_unix_ms: u64,
    /// The same as a time of day in UTC, for browsers without scripts.
    pub started: String,
    /// The label of the time that is left.
    pub time_left_label: String,
    /// The time left, in seconds.
    pub seconds_left: u64,
    /// The same in minutes and seconds, for browsers without scripts.
    pub time_left: String,
    /// The advice to decline a request that does not match.
    pub decline: String,
    /// The text once the phone has approved.
    pub approved: String,
    /// The instruction in browsers without scripts.
    pub lead_without_script: String,
    /// This page's own address, and the text of a button that loads it in browsers without scripts.
    pub go_on: Link,
    /// How a script follows the login.
    pub follow: Follow,
}

/// The addresses from which a script reads the status of a login or a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Follow {
    /// The address of the crate's script. It needs an element with `data-follow`,
    /// `data-events`, `data-status` and a `data-` attribute for each status that the page has a text
    /// for, and one with `data-state` that shows that text. At any other status it loads the page
    /// again.
    pub script: String,
    /// The address of `events`.
    pub events: String,
    /// The address of `status`.
    pub status: String,
}

/// `GET locked`: waits for the phone to return.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SuspendedPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// Whether the session is suspended; otherwise its status is not known.
    pub is_suspended: bool,
    /// The text while the phone is away.
    pub away: String,
    /// The text while the status is not known.
    pub unknown: String,
    /// The text once the phone is back.
    pub back: String,
    /// This page's own address, and the text of a button that loads it in browsers without scripts.
    pub go_on: Link,
    /// The address of the form that logs the user out, and the text of its button.
    pub log_out: Link,
    /// How a script follows the session.
    pub follow: Follow,
}

/// `GET confirm`: the form with which the user of a session confirms on the phone. It posts to the
/// page's own address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfirmPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The user of the session, and the text before the name.
    pub user: KnownUser,
    /// The text before `methods`.
    pub methods_lead: String,
    /// The methods that the phone will require; may be empty.
    pub methods: Vec<String>,
    /// The text of the button.
    pub submit: String,
}

/// `GET sessions`: the sessions of the user, with forms that end them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionsPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The result of the form that was sent, if there is one.
    pub notice: Option<String>,
    /// The user of the sessions, and the text before the name.
    pub user: KnownUser,
    /// The mark of the session that shows the page.
    pub current_label: String,
    /// The label of the time of the login.
    pub started_label: String,
    /// The label of the time of the last use.
    pub last_used_label: String,
    /// The label of the address.
    pub address_label: String,
    /// The label of the methods.
    pub methods_label: String,
    /// The sessions: first the one that shows the page, then the others, the most recently used
    /// first.
    pub sessions: Vec<ListedSession>,
    /// The address of the form that ends another session by the hidden field `id`, and the text of
    /// its button.
    pub end: Link,
    /// The address of the form that ends all other sessions, and the text of its button; `None` if
    /// there are no others.
    pub end_others: Option<Link>,
    /// The address of the form that ends this session, and the text of its button.
    pub log_out: Link,
    /// The application's page that linked here.
    pub back: Link,
    /// The address of a script that shows each `<time datetime>` in the user's time zone.
    pub script: String,
}

/// A session in the list of its user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedSession {
    /// The value of the hidden field `id`: [`SessionInfo::id`](crate::session::SessionInfo::id).
    pub id: String,
    /// This session shows the page.
    pub is_current: bool,
    /// The client as it names itself. It may be any text, so escape it and put it into a `<bdi>`.
    pub browser: String,
    /// The time of the login.
    pub started: Moment,
    /// The time of the last use.
    pub last_used: Moment,
    /// The warning that a browser without an earlier login of the user started it; `None` for the
    /// session that shows the page.
    pub warning: Option<String>,
    /// The note on a session that has an open response, such as an event stream.
    pub held_open: Option<String>,
    /// The address of the client at the login, if it is recorded.
    pub address: Option<String>,
    /// The methods that the login required; may be empty.
    pub methods: Vec<String>,
}

/// A time, for a `<time>` element.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moment {
    /// The value of the attribute `datetime`: `2026-11-26T14:05:09Z`.
    pub datetime: String,
    /// The time in UTC, for browsers without scripts.
    pub text: String,
}

/// The page with a [`RegistrationLink`](crate::enrollment::RegistrationLink). Caches do not store it, and its
/// address is not sent to other sites.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The user who registers the phone, by the display name if there is one, and the text before the
    /// name.
    pub user: KnownUser,
    /// The link. A secret: a phone that opens it can log in as the user.
    pub link: Secret,
    /// Whether the scheme is `http` or `https`. Show any other link as text only.
    pub is_web_link: bool,
    /// The link as a QR code, an `<svg>` element; `None` if it is too long for one. A secret.
    pub qr_code: Option<Secret>,
    /// The description of the QR code for screen readers.
    pub qr_code_label: String,
    /// The text of the button that copies the link. The script shows it: it looks for a hidden element
    /// whose `data-copy` is the link and which contains a button.
    pub copy: String,
    /// The text that the script shows in the element with `data-copied` once it has copied the link.
    pub copied: String,
    /// The advice to keep the link secret.
    pub advice: String,
    /// How the page waits for the phone. `None` if the user already has one: the service does not
    /// report a further phone.
    pub wait: Option<RegistrationWait>,
    /// The instruction on a page that does not wait.
    pub done_lead: String,
    /// The link to continue after registering the phone, on a page that does not redirect.
    pub done: Link,
    /// The address of the crate's script that copies the link and waits for the phone.
    pub script: String,
}

/// The wait of a page for a phone to register.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationWait {
    /// The text while the page waits.
    pub pending: String,
    /// The text once the phone has registered.
    pub registered: String,
    /// The text once the page no longer waits.
    pub over: String,
    /// The label of the end of the wait.
    pub until_label: String,
    /// The end of the wait in Unix milliseconds, which a script shows as local time.
    pub until_unix_ms: u64,
    /// The same as a time of day in UTC, for browsers without scripts.
    pub until: String,
    /// The label of the time that is left.
    pub time_left_label: String,
    /// The time left, in seconds.
    pub seconds_left: u64,
    /// The same in minutes and seconds, for browsers without scripts.
    pub time_left: String,
    /// The instruction in browsers without scripts.
    pub lead_without_script: String,
    /// The address that redirects once the phone has registered, and the text of a button that loads
    /// it in browsers without scripts. The page with the link opens it in another tab, because the
    /// link is shown only once.
    pub go_on: Link,
    /// The address from which the script reads whether the phone has registered. It needs an element
    /// with `data-follow`, `data-status`, `data-go-on` (the address of `go_on`), and
    /// `data-pending`, `data-registered` and `data-none` with the texts for these, and one with
    /// `data-state` that shows them. It shows the elements with `data-with-script`, hides
    /// those with `data-without-script`, and shows those with `data-at-end` once the page no longer
    /// waits.
    pub status: String,
}

/// `GET registration` while the phone has not registered: the target of the button of
/// [`RegistrationPage`] in browsers without scripts. It does not show the link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisteringPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The instruction to the user.
    pub lead: String,
    /// How the page waits for the phone.
    pub wait: RegistrationWait,
    /// The address of the crate's script that waits for the phone.
    pub script: String,
}

/// The page of a rejection by the routes, or of a denial by a layer (401, 403, 503).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorPage {
    /// The parts that all pages share.
    pub layout: Layout,
    /// The status of the response.
    pub status: u16,
    /// The heading.
    pub heading: String,
    /// The reasons, one paragraph each.
    pub details: Vec<String>,
    /// The link that helps the user.
    pub remedy: Option<Link>,
}
