//! Numbers of things in messages for people: `1 device`, `2 devices`.

/// A number and what it counts.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{number} {}", plural(number, noun))
}

/// What a number counts; nouns ending in `sh` take `es`, all others `s`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    let ending = match number {
        1 => "",
        _ if noun.ends_with("sh") => "es",
        _ => "s",
    };
    format!("{noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_others_are_plural() {
        for (number, noun, text) in [
            (0, "device", "0 devices"),
            (1, "device", "1 device"),
            (2, "device", "2 devices"),
            (1, "open push", "1 open push"),
            (7, "open push", "7 open pushes"),
        ] {
            assert_eq!(counted(number, noun), text);
        }
    }
}
