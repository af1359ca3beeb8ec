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

/// A size as people read it, and exactly: `2 MiB (2097152 bytes)`.
#[must_use]
pub fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = KIB * KIB;
    let (unit, name) = if bytes.is_multiple_of(MIB) {
        (MIB, "MiB")
    } else {
        (KIB, "KiB")
    };
    if bytes == 0 || !bytes.is_multiple_of(unit) {
        return counted(bytes as u64, "byte");
    }
    format!("{} {name} ({bytes} bytes)", bytes / unit)
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

    #[test]
    fn sizes_are_said_in_units_where_they_come_out_even() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (5_000, "5000 bytes"),
            (64 * 1024, "64 KiB (65536 bytes)"),
            (2 * 1024 * 1024, "2 MiB (2097152 bytes)"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
