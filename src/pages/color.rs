//! Colors, with the relative luminance and the contrast ratio of WCAG 2.2.

use std::fmt;

/// The contrast ratio that WCAG 2.2 AA requires of text.
const TEXT_CONTRAST: f64 = 4.5;

/// An opaque sRGB color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color {
    red: u8,
    green: u8,
    blue: u8,
}

impl Color {
    pub(crate) const BLACK: Self = Self { red: 0, green: 0, blue: 0 };
    pub(crate) const WHITE: Self = Self { red: 255, green: 255, blue: 255 };

    pub(crate) const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }

    /// Parses a CSS hex color without transparency: `#0a7` or `#00aa77`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        let (bits, factor) = match digits.len() {
            3 => (4, 17),
            6 => (8, 1),
            _ => return None,
        };
        let part = |index: u32| {
            let value = (number >> (bits * index)) & ((1 << bits) - 1);
            u8::try_from(value * factor).ok()
        };
        Some(Self { red: part(2)?, green: part(1)?, blue: part(0)? })
    }

    fn relative_luminance(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }

    /// The contrast ratio: 1 for the same color, 21 for black and white.
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.relative_luminance(), other.relative_luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// The color of text on this background: black or white, whichever has more contrast. It always
    /// meets [`TEXT_CONTRAST`].
    pub(crate) fn text_color(self) -> Self {
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }

    /// This color, mixed with black or white until it is readable as text on `background`.
    pub(crate) fn readable_on(self, background: Self) -> Self {
        let towards = background.text_color();
        let steps = (0..=50).map(|step| self.mix(towards, f64::from(step) / 50.0));
        steps
            .into_iter()
            .find(|color| color.contrast(background) >= TEXT_CONTRAST)
            .unwrap_or(towards)
    }

    fn mix(self, other: Self, share: f64) -> Self {
        let mix = |from: u8, to: u8| {
            let mixed = f64::from(from) + (f64::from(to) - f64::from(from)) * share;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
            let mixed = mixed.round() as u8;
            mixed
        };
        Self {
            red: mix(self.red, other.red),
            green: mix(self.green, other.green),
            blue: mix(self.blue, other.blue),
        }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hex_colors_are_read() {
        for (text, expected) in [
            ("#0a7", Some("#00aa77")),
            ("#00AA77", Some("#00aa77")),
            ("#fff", Some("#ffffff")),
            ("#000000", Some("#000000")),
            ("0a7", None),
            ("#0a", None),
            ("#0a7f", None),
            ("#00aa77ff", None),
            ("#0g7", None),
            ("#+12", None),
            ("teal", None),
            ("", None),
            ("#", None),
            ("#äa", None),
        ] {
            let read = Color::parse(text).map(|color| color.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        let contrast = |one, two| {
            let ratio = Color::parse(one).unwrap().contrast(Color::parse(two).unwrap());
            (ratio * 100.0).round() / 100.0
        };
        assert_eq!(contrast("#000", "#fff"), 21.0);
        assert_eq!(contrast("#fff", "#fff"), 1.0);
        assert_eq!(contrast("#777", "#fff"), 4.48);
        assert_eq!(contrast("#fff", "#767676"), 4.54);
        assert_eq!(contrast("#00f", "#fff"), 8.59);
    }

    proptest! {
        #[test]
        fn chosen_colors_have_text_contrast(red: u8, green: u8, blue: u8) {
            let accent = Color::new(red, green, blue);
            prop_assert!(accent.contrast(accent.text_color()) >= TEXT_CONTRAST);
            for background in [Color::WHITE, Color::BLACK, Color::new(0x1c, 0x1d, 0x20)] {
                prop_assert!(accent.readable_on(background).contrast(background) >= TEXT_CONTRAST);
            }
        }
    }
}
