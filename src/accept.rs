//! The syntax that `Accept` and `Accept-Language` share.

/// The weight `q` among the parameters of a range, in thousandths: 1000 without one, 0 where it is no
/// number (RFC 9110, 12.4.2).
pub(crate) fn parse_qvalue<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let weight = parameters.find_map(|parameter| {
        parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
    });
    let Some(weight) = weight else { return 1000 };
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(3));
    let thousandths = digits.map(|digit| match digit {
        b'0'..=b'9' => Some(u16::from(digit - b'0')),
        _ => None,
    });
    let value = thousandths
        .take(5)
        .try_fold(0_u16, |sum, digit| sum.checked_mul(10)?.checked_add(digit?))
        .unwrap_or(0);
    value.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_thousandths() {
        for (parameters, expected) in [
            (&[][..], 1000),
            (&["q=1"], 1000),
            (&["q=0.8"], 800),
            (&["level=1", "Q=0.05"], 50),
            (&["q=0"], 0),
            (&["q=7"], 1000),
            (&["q=NaN"], 0),
            (&["q=-1"], 0),
            (&["q="], 0),
        ] {
            assert_eq!(parse_qvalue(parameters.iter().copied()), expected, "{parameters:?}");
        }
    }
}
