/// The characters of the service's tokens and secrets.
pub(super) const UPPERCASE_ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// The characters of application ids.
pub(super) const HEX_ALPHABET: &[u8] = b"0123456789abcdef";

/// A random text of `length` characters of `alphabet`, each equally likely.
pub(super) fn text(alphabet: &[u8], length: usize) -> Result<String, getrandom::Error> {
    // Rejection sampling: the remainder of `% len` would favor some characters.
    let usable = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)?;
        let characters = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < usable);
        text.extend(
            characters
                .take(length - text.len())
                .map(|byte| alphabet[byte % alphabet.len()] as char),
        );
    }
    Ok(text)
}
