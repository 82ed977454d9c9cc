//! The texts of the pages in each language, and the choice of the language.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use fluent_langneg::{NegotiationStrategy, negotiate_languages};
use fluent_syntax::ast::{Entry, Expression, InlineExpression, Pattern, PatternElement};
use unic_langid::{CharacterDirection, LanguageIdentifier};
use url::form_urlencoded;

use super::setup_error::SetupError;
use crate::accept::parse_qvalue;

/// English is first: it is the default, and the fallback for texts that an added language lacks.
const LOCALES: [(&str, &str); 6] = [
    ("en", include_str!("locales/en.ftl")),
    ("de", include_str!("locales/de.ftl")),
    ("fr", include_str!("locales/fr.ftl")),
    ("es", include_str!("locales/es.ftl")),
    ("pt-BR", include_str!("locales/pt-BR.ftl")),
    ("ja", include_str!("locales/ja.ftl")),
];

/// The most languages of `Accept-Language` that are read.
const MAX_ACCEPTED_LANGUAGES: usize = 16;

static BUILT_IN: LazyLock<Vec<(LanguageIdentifier, Arc<FluentResource>)>> = LazyLock::new(|| {
    let parsed = LOCALES.iter().filter_map(|(tag, text)| {
        // A test checks that all of them parse.
        let resource = FluentResource::try_new((*text).to_owned()).ok()?;
        Some((tag.parse().ok()?, Arc::new(resource)))
    });
    parsed.collect()
});

/// The key of each English message, with the names of its variables.
static KNOWN_TEXTS: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
    let english = BUILT_IN.iter().take(1).flat_map(|(_, resource)| resource.entries());
    english.filter_map(message).map(|(key, value)| (key.to_owned(), variables(value))).collect()
});

/// All languages of the pages.
#[derive(Debug)]
pub(crate) struct Texts {
    tags: Vec<LanguageIdentifier>,
    languages: Vec<Language>,
    default: usize,
}

/// The texts of one language.
pub(crate) struct Language {
    tag: LanguageIdentifier,
    bundle: FluentBundle<Arc<FluentResource>>,
}

/// The language of the response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LanguageChoice {
    index: usize,
    /// The query has `lang`, so the links to further pages carry it too.
    is_explicit: bool,
}

impl Texts {
    /// The crate's own languages, English by default.
    pub(super) fn built_in() -> Self {
        let tags = BUILT_IN.iter().map(|(tag, _)| tag.clone()).collect();
        let languages =
            BUILT_IN.iter().map(|(tag, texts)| Language::new(tag.clone(), [texts.clone()]));
        Self { tags, languages: languages.collect(), default: 0 }
    }

    /// Replaces texts of a language, or adds a language. The closest built-in language supplies the
    /// texts that an added language lacks.
    pub(super) fn add(&mut self, language: &str, texts: &str) -> Result<(), SetupError> {
        let invalid = |problem| SetupError::Texts { language: language.to_owned(), problem };
        let tag = parse_tag(language).ok_or_else(|| {
            invalid("the language tag is invalid; use one such as nl or zh-Hant".to_owned())
        })?;
        let texts = Arc::new(check_texts(texts).map_err(invalid)?);
        if let Some(known) = self.languages.iter_mut().find(|known| known.tag == tag) {
            known.bundle.add_resource_overriding(texts);
        } else {
            let base = negotiate(std::slice::from_ref(&tag), &self.tags);
            let base = BUILT_IN.get(base.unwrap_or(0)).or(BUILT_IN.first());
            let sources = base.map(|(_, texts)| texts.clone()).into_iter().chain([texts]);
            self.languages.push(Language::new(tag.clone(), sources));
            self.tags.push(tag);
        }
        Ok(())
    }

    /// Sets the language for requests that accept none of the available ones.
    pub(super) fn set_default(&mut self, language: &str) -> Result<(), SetupError> {
        let found = parse_tag(language).and_then(|tag| negotiate(&[tag], &self.tags));
        self.default = found.ok_or_else(|| SetupError::Texts {
            language: language.to_owned(),
            problem: "the language has no texts; add them with ActiveconnectBuilder::texts"
                .to_owned(),
        })?;
        Ok(())
    }

    pub(super) fn default_choice(&self) -> LanguageChoice {
        LanguageChoice { index: self.default, is_explicit: false }
    }

    /// The language of `lang` in the query, else the best match of `Accept-Language`, else the default.
    pub(super) fn choose(
        &self,
        query: Option<&str>,
        accept_language: Option<&str>,
    ) -> LanguageChoice {
        let explicit = query.and_then(|query| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let (_, tag) = pairs.find(|(name, _)| name == "lang")?;
            negotiate(&[parse_tag(&tag)?], &self.tags)
        });
        if let Some(index) = explicit {
            return LanguageChoice { index, is_explicit: true };
        }
        let accepted = accept_language.map(accepted_languages).unwrap_or_default();
        match negotiate(&accepted, &self.tags) {
            Some(index) => LanguageChoice { index, is_explicit: false },
            None => self.default_choice(),
        }
    }

    /// The texts of the chosen language.
    pub(super) fn language(&self, choice: LanguageChoice) -> &Language {
        &self.languages[choice.index]
    }

    /// An address of the crate's pages, with `lang` in the query if the request had it.
    pub(super) fn with_language(&self, address: String, choice: LanguageChoice) -> String {
        if !choice.is_explicit {
            return address;
        }
        let separator = if address.contains('?') { '&' } else { '?' };
        format!("{address}{separator}lang={}", self.language(choice).tag)
    }
}

impl Language {
    fn new(
        tag: LanguageIdentifier,
        sources: impl IntoIterator<Item = Arc<FluentResource>>,
    ) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![tag.clone()]);
        // The pages isolate the direction of names with `<bdi>` elements.
        bundle.set_use_isolating(false);
        for source in sources {
            bundle.add_resource_overriding(source);
        }
        Self { tag, bundle }
    }

    /// For `<html lang>`.
    pub(super) fn tag(&self) -> String {
        self.tag.to_string()
    }

    /// For `<html dir>`.
    pub(super) fn direction(&self) -> &'static str {
        match self.tag.character_direction() {
            CharacterDirection::RTL => "rtl",
            _ => "ltr",
        }
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.format(key, None)
    }

    pub(super) fn text_with(&self, key: &str, arguments: &FluentArgs<'_>) -> String {
        self.format(key, Some(arguments))
    }

    fn format(&self, key: &str, arguments: Option<&FluentArgs<'_>>) -> String {
        let message = self.bundle.get_message(key);
        let Some(pattern) = message.and_then(|message| message.value()) else {
            // Tests check that no page uses a missing text.
            return key.to_owned();
        };
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, arguments, &mut errors);
        for error in errors {
            tracing::error!(%error, key, language = %self.tag, "text could not be formatted");
        }
        Cow::into_owned(text)
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Language").field(&self.tag).finish()
    }
}

fn parse_tag(tag: &str) -> Option<LanguageIdentifier> {
    tag.parse().ok().filter(|tag: &LanguageIdentifier| !tag.language.is_empty())
}

/// The index of the best matching language, if any matches.
fn negotiate(requested: &[LanguageIdentifier], available: &[LanguageIdentifier]) -> Option<usize> {
    let strategy = NegotiationStrategy::Lookup;
    let found = negotiate_languages(requested, available, None, strategy).into_iter().next()?;
    available.iter().position(|tag| tag == found)
}

/// The languages of `Accept-Language`, the highest weight first.
fn accepted_languages(header: &str) -> Vec<LanguageIdentifier> {
    let mut accepted: Vec<(u16, LanguageIdentifier)> = header
        .split(',')
        .take(MAX_ACCEPTED_LANGUAGES)
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let tag = parse_tag(parts.next()?)?;
            let weight = parse_qvalue(parts);
            (weight > 0).then_some((weight, tag))
        })
        .collect();
    accepted.sort_by_key(|(weight, _)| Reverse(*weight));
    accepted.into_iter().map(|(_, tag)| tag).collect()
}

/// Parses an application's texts. Each must be a known text with known variables.
fn check_texts(text: &str) -> Result<FluentResource, String> {
    let resource = FluentResource::try_new(text.to_owned()).map_err(|(_, errors)| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        format!("the texts are not well formed: {first}")
    })?;
    for entry in resource.entries() {
        match entry {
            Entry::Message(message)
                if message.value.is_none() || !message.attributes.is_empty() =>
            {
                return Err(format!("{} must have a value and no attributes", message.id.name));
            }
            Entry::Message(_) | Entry::Term(_) => {}
            Entry::Comment(_) | Entry::GroupComment(_) | Entry::ResourceComment(_) => continue,
            Entry::Junk { content } => {
                return Err(format!("the texts are not well formed: {}", content.trim()));
            }
        }
        let Some((key, value)) = message(entry) else { continue };
        let Some(known) = KNOWN_TEXTS.get(key) else {
            return Err(format!("the pages have no text {key}"));
        };
        if let Some(unknown) = variables(value).difference(known).next() {
            return Err(format!("{key} has no variable ${unknown}"));
        }
    }
    Ok(resource)
}

fn message<'a>(entry: &'a Entry<&'a str>) -> Option<(&'a str, &'a Pattern<&'a str>)> {
    match entry {
        Entry::Message(message) => Some((message.id.name, message.value.as_ref()?)),
        _ => None,
    }
}

fn variables(pattern: &Pattern<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect_variables(pattern, &mut found);
    found
}

fn collect_variables(pattern: &Pattern<&str>, found: &mut BTreeSet<String>) {
    for element in &pattern.elements {
        let PatternElement::Placeable { expression } = element else { continue };
        collect_from_expression(expression, found);
    }
}

fn collect_from_expression(expression: &Expression<&str>, found: &mut BTreeSet<String>) {
    let inline = match expression {
        Expression::Inline(inline) => inline,
        Expression::Select { selector, variants } => {
            for variant in variants {
                collect_variables(&variant.value, found);
            }
            selector
        }
    };
    match inline {
        InlineExpression::VariableReference { id } => {
            found.insert(id.name.to_owned());
        }
        InlineExpression::Placeable { expression } => collect_from_expression(expression, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(own: &[(&str, &str)]) -> Result<Texts, SetupError> {
        let mut texts = Texts::built_in();
        for (tag, text) in own {
            texts.add(tag, text)?;
        }
        Ok(texts)
    }

    fn chosen(texts: &Texts, query: Option<&str>, accept_language: Option<&str>) -> String {
        texts.language(texts.choose(query, accept_language)).tag()
    }

    #[test]
    fn every_language_has_every_text() {
        assert_eq!(BUILT_IN.len(), LOCALES.len());
        assert!(KNOWN_TEXTS.len() > 50);
        for (tag, text) in LOCALES {
            let resource = FluentResource::try_new(text.to_owned());
            let resource = resource.unwrap_or_else(|(_, errors)| panic!("{tag}: {errors:?}"));
            let mut texts = BTreeMap::new();
            for (key, value) in resource.entries().filter_map(message) {
                let is_new = texts.insert(key.to_owned(), variables(value)).is_none();
                assert!(is_new, "{tag} has {key} twice");
            }
            assert_eq!(texts, *KNOWN_TEXTS, "{tag}");
        }
    }

    /// An unused text is dead, and a page would show a missing text as its key.
    #[test]
    fn every_text_is_used() {
        let sources = [include_str!("view.rs"), include_str!("view/sessions.rs")];
        let sources = sources.map(|source| source.split("#[cfg(test)]").next().unwrap());
        let quoted = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
        let is_key = |text: &&str| {
            let prefixes =
                ["link-", "login-", "waiting-", "locked-", "confirm-", "registration-", "refused-"];
            let prefixes = prefixes.iter();
            let prefixes = prefixes.chain(&["denied-", "document-", "registering-", "sessions-"]);
            prefixes.into_iter().any(|prefix| text.starts_with(prefix))
        };
        let shown: BTreeSet<&str> = quoted.filter(is_key).collect();
        let known: BTreeSet<&str> = KNOWN_TEXTS.keys().map(String::as_str).collect();
        assert_eq!(shown, known);
    }

    #[test]
    fn language_follows_address_then_header() {
        let texts = texts(&[]).unwrap();
        for (query, header, expected) in [
            (None, None, "en"),
            (None, Some("de-AT,de;q=0.9,en;q=0.8"), "de"),
            (None, Some("en;q=0.5, fr;q=0.9"), "fr"),
            (None, Some("nl, ja;q=0.1"), "ja"),
            (None, Some("fr;q=0, es"), "es"),
            (None, Some("pt"), "pt-BR"),
            (None, Some("pt-PT"), "pt-BR"),
            (None, Some("*"), "en"),
            (None, Some("\u{fffd};;q=,,"), "en"),
            (Some("next=/&lang=ja"), Some("de"), "ja"),
            (Some("lang=de-CH"), Some("fr"), "de"),
            (Some("lang=nl"), Some("fr"), "fr"),
            (Some("lang="), None, "en"),
            (Some("lang=%3Cscript%3E"), None, "en"),
        ] {
            assert_eq!(chosen(&texts, query, header), expected, "{query:?} {header:?}");
        }
    }

    #[test]
    fn explicit_language_stays_in_addresses() {
        let texts = texts(&[]).unwrap();
        let address = |query, header, address: &str| {
            texts.with_language(address.to_owned(), texts.choose(query, header))
        };
        assert_eq!(address(Some("lang=pt"), None, "/auth/login"), "/auth/login?lang=pt-BR");
        assert_eq!(address(Some("lang=de"), None, "/a?next=/"), "/a?next=/&lang=de");
        assert_eq!(address(None, Some("de"), "/auth/login"), "/auth/login");
    }

    #[test]
    fn application_replaces_texts_and_adds_languages() {
        let texts = texts(&[
            ("en", "login-heading = Sign in"),
            ("ar", "login-heading = تسجيل الدخول"),
            ("de-AT", "login-heading = Servus"),
        ])
        .unwrap();
        let language = |tag| texts.language(texts.choose(None, Some(tag)));
        assert_eq!(language("en").text("login-heading"), "Sign in");
        assert_eq!(language("en").text("login-submit"), "Log in with your phone");
        let arabic = language("ar");
        assert_eq!((arabic.tag().as_str(), arabic.direction()), ("ar", "rtl"));
        assert_eq!(arabic.text("login-heading"), "تسجيل الدخول");
        assert_eq!(arabic.text("link-support"), "Get help");
        assert_eq!(language("de-AT").text("login-heading"), "Servus");
        assert_eq!(language("de-AT").text("link-support"), "Hilfe");
        assert_eq!(language("de").text("login-heading"), "Anmelden");
    }

    #[test]
    fn invalid_texts_are_rejected() {
        for (tag, text, expected) in [
            ("en", "login-headin = Sign in", "login-headin"),
            ("en", "login-heading = Sign in, { $user }", "$user"),
            ("en", "login-heading = { $n ->\n    [one] { $x }\n   *[other] x\n}", "$n"),
            ("en", "login-heading", "well formed"),
            ("en", "login-heading =\n    .title = Sign in", "attributes"),
            ("not a tag", "login-heading = Sign in", "language tag"),
        ] {
            let error = texts(&[(tag, text)]).unwrap_err();
            let SetupError::Texts { problem, .. } = &error else { panic!("{error:?}") };
            assert!(problem.contains(expected), "{problem}");
        }
        assert!(matches!(Texts::built_in().set_default("nl"), Err(SetupError::Texts { .. })));
    }

    #[test]
    fn numbers_follow_the_plural_rules() {
        let texts = texts(&[]).unwrap();
        let text = |tag, seconds: u64| {
            let arguments = FluentArgs::from_iter([("seconds", seconds)]);
            let language = texts.language(texts.choose(None, Some(tag)));
            language.text_with("refused-too-many", &arguments)
        };
        assert!(text("en", 1).ends_with("in 1 second."), "{}", text("en", 1));
        assert!(text("en", 1200).ends_with("in 1200 seconds."), "{}", text("en", 1200));
        assert!(text("de", 1).contains("in 1 Sekunde wieder"));
        assert!(text("ja", 7).contains("7 秒後"));
    }
}
