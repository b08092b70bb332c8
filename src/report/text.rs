//! What a chart must know about text before any font is known: how wide it may get, and how numbers read best.

/// A generous estimate of the width of `text` in the units of `size`.
///
/// Widths are those of DejaVu Sans and Verdana, the widest of the usual interface fonts, so that what fits by this
/// estimate fits in every font that a reader may have.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| size * char_width(c)).sum()
}

fn char_width(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.3,
        ' ' | '.' | ',' | ':' | ';' | '/' | '\\' | 'I' | 'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '!' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' | '—' => 1.0,
        '⁰' | '¹' | '²' | '³' | '⁴' | '⁵' | '⁶' | '⁷' | '⁸' | '⁹' | '⁻' => 0.45,
        '0'..='9' => 0.64,
        'A'..='Z' => 0.72,
        ' '..='~' => 0.63,
        c if c < '\u{1100}' => 0.72,
        '×' | '−' | '±' | '–' => 0.84,
        '\u{2000}'..='\u{206f}' => 0.6,
        _ => 1.05,
    }
}

/// `text` without the control characters that XML forbids; line breaks and tabs become spaces.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if allowed(c) { c } else { ' ' }).collect::<String>().trim().to_string()
}

/// The same, but line breaks stay.
pub(super) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || allowed(c) { c } else { ' ' }).collect()
}

fn allowed(c: char) -> bool {
    !c.is_control() && c != '\u{fffe}' && c != '\u{ffff}'
}

/// `text`, its end cut off with an ellipsis where it is wider than `room`.
pub(super) fn fit(text: &str, size: f64, room: f64) -> String {
    let text = clean(text);
    if width(&text, size) <= room {
        return text;
    }
    let mut used = size * char_width('…');
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += size * char_width(c);
            used <= room
        })
        .collect();
    format!("{}…", kept.trim_end())
}

/// `text` broken at spaces into lines no wider than `room`; what exceeds `most` lines is cut off with an ellipsis.
pub(super) fn wrap(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let text = clean(text);
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text.split_whitespace().peekable();
    while let Some(word) = rest.next() {
        let mut line = word.to_string();
        while let Some(next) = rest.peek() {
            let longer = format!("{line} {next}");
            if width(&longer, size) > room && lines.len() + 1 < most {
                break;
            }
            line = longer;
            rest.next();
        }
        lines.push(fit(&line, size, room));
    }
    lines
}

/// A number as one reads it: three significant digits, powers of ten where plain digits would be long.
///
/// `0.391`, `12.3`, `50,000`, `4.2×10⁻⁷`; `–` for NaN, `∞` and `−∞` for the infinities.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "–".to_string()
    } else if value.is_infinite() {
        if value > 0.0 { "∞" } else { "−∞" }.to_string()
    } else if size == 0.0 {
        "0".to_string()
    } else if (9.995e-4..9_999_999.5).contains(&size) {
        let decimals = (2 - exponent(size, 3)).clamp(0, 6) as usize;
        trim_zeros(fixed(value, decimals))
    } else {
        let (mantissa, power) = scientific(value);
        format!("{}×{}", trim_zeros(fixed(mantissa, 2)), power_of_ten(power))
    }
}

/// The decimals that show three digits of the smallest of `values`, at most four; none where all are whole.
pub(super) fn decimals(values: impl Iterator<Item = f64> + Clone) -> usize {
    let finite = values.filter(|v| v.is_finite());
    let smallest = finite.clone().map(f64::abs).filter(|&v| v >= 5e-4).fold(f64::INFINITY, f64::min);
    let whole = finite.clone().all(|v| v.fract() == 0.0);
    if whole || smallest.is_infinite() { 0 } else { (2 - exponent(smallest, 3)).clamp(0, 4) as usize }
}

/// `value` with so many decimals, as beside others of the same kind, unless that would hide its leading digits.
pub(super) fn aligned(value: f64, decimals: usize) -> String {
    let visible = 10f64.powi(-(decimals as i32));
    if value == 0.0 || (visible..9_999_999.5).contains(&value.abs()) { fixed(value, decimals) } else { number(value) }
}

/// `0.931 ± 0.011`: two digits of the error, and as many decimals of the value.
pub(super) fn spread(value: f64, error: f64) -> String {
    let usual = 1e-6..1e6;
    if !usual.contains(&error) || !(value == 0.0 || usual.contains(&value.abs())) {
        return format!("{} ± {}", number(value), number(error));
    }
    let decimals = (1 - exponent(error, 2)).max(0) as usize;
    format!("{} ± {}", fixed(value, decimals), fixed(error, decimals))
}

/// `value` with that many decimals, a true minus sign, and commas between thousands.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let plain = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), ""), |(w, f)| (w, f));
    let mut text = String::new();
    // A value that rounds to zero has no sign.
    if value < 0.0 && plain.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        text.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && whole.len() > 4 {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// The mantissa, in [1, 10) after rounding to three digits, and the exponent of a finite number other than zero.
pub(super) fn scientific(value: f64) -> (f64, i32) {
    let text = format!("{value:.2e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.parse().unwrap_or(value), power.parse().unwrap_or(0))
}

/// The decimal exponent of a number above zero once it is rounded to `digits` significant digits.
pub(super) fn exponent(size: f64, digits: usize) -> i32 {
    let text = format!("{size:.*e}", digits.saturating_sub(1));
    text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0)
}

/// `10⁻³`.
pub(super) fn power_of_ten(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised =
        power.to_string().chars().map(|c| c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize])).collect::<String>();
    format!("10{raised}")
}

/// `0.50` → `0.5`, `3.00` → `3`.
pub(super) fn trim_zeros(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0.3914, "0.391"),
            (12.345, "12.3"),
            (1234.5, "1234"),
            (50_000.0, "50,000"),
            (1_234_567.0, "1,234,567"),
            (-0.5, "−0.5"),
            (0.0, "0"),
            (-0.0, "0"),
            (4.2e-7, "4.2×10⁻⁷"),
            (-1e300, "−1×10³⁰⁰"),
            (9.999e12, "1×10¹³"),
            (0.99999, "1"),
            (f64::NAN, "–"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(fixed(-0.0004, 2), "0.00");
        assert_eq!(spread(0.9312, 0.01117), "0.931 ± 0.011");
        assert_eq!(spread(41.2, 12.7), "41 ± 13");
        assert_eq!(spread(2e-9, 1e-10), "2×10⁻⁹ ± 1×10⁻¹⁰");
        assert_eq!(decimals([0.19, 0.0821, f64::NAN, 3.0].into_iter()), 4);
        assert_eq!([decimals([812.0, 3.0].into_iter()), decimals([812.5].into_iter())], [0, 0]);
        assert_eq!([aligned(0.19, 3), aligned(3.2e-5, 3), aligned(0.0, 3)], ["0.190", "3.2×10⁻⁵", "0.000"]);
        assert_eq!(fixed(123456.0, 1), "123,456.0");
    }

    #[test]
    fn text_is_cut_to_its_room() {
        assert_eq!(fit("short", 12.0, 100.0), "short");
        for room in [0.0, 5.0, 30.0, 80.0] {
            let cut = fit("a rather long label that goes on", 12.0, room);
            assert!(cut.ends_with('…') && width(&cut, 12.0) <= room.max(12.0), "{cut}");
        }
        let lines = wrap("one two three four five six seven", 12.0, 80.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| width(line, 12.0) <= 80.0), "{lines:?}");
        assert!(wrap(" \n ", 12.0, 80.0, 2).is_empty());
        assert_eq!(clean("a\u{0}b\nc\u{1b}"), "a b c");
    }
}
