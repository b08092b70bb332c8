//! The WGSL sources and their one mechanism of reuse: `#import "path"` is replaced by the file of that path, once; a
//! name without a suffix (`#import "rows"`) is looked up in the variant's list first. With a number behind it
//! (`#import "operand" 2`) the file comes once for each number, which stands where the file has `$`: functions and bindings of
//! operands that are all alike. A variant may name one of them (`operand2`), whose file is then another than the others'.

use crate::{Error, Result};

/// The text of a file below `shaders/`.
macro_rules! source {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path))
    };
}
pub(crate) use source;

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(($path, source!($path))),*]
    };
}

/// Files that may be imported, by path below `shaders/`.
static SOURCES: &[(&str, &str)] = sources![
    "align/circle.wgsl",
    "align/phase_noise_params.wgsl",
    "align/phase_turn_params.wgsl",
    "common/columns_solo.wgsl",
    "common/columns_teams.wgsl",
    "common/column_params.wgsl",
    "common/eights.wgsl",
    "common/elements.wgsl",
    "common/f16_bits.wgsl",
    "common/fixed_point.wgsl",
    "common/float_rows.wgsl",
    "common/float_team_portable.wgsl",
    "common/float_team_solo.wgsl",
    "common/float_team_subgroup.wgsl",
    "common/gaussian.wgsl",
    "common/grid.wgsl",
    "common/half_floats.wgsl",
    "common/held_solo.wgsl",
    "common/held_team.wgsl",
    "common/inout_f16.wgsl",
    "common/inout_f32.wgsl",
    "common/integer128.wgsl",
    "common/nan.wgsl",
    "common/operand_bf16_buffer.wgsl",
    "common/operand_bf16_texture.wgsl",
    "common/operand_buffer.wgsl",
    "common/operand_half_buffer.wgsl",
    "common/operand_half_texture.wgsl",
    "common/operand_q8_buffer.wgsl",
    "common/operand_q8_texture.wgsl",
    "common/operand_texture.wgsl",
    "common/out_bf16.wgsl",
    "common/out_f16.wgsl",
    "common/out_f32.wgsl",
    "common/philox.wgsl",
    "common/product_u32.wgsl",
    "common/product_u64.wgsl",
    "common/q8_blocks.wgsl",
    "common/result_f16.wgsl",
    "common/result_f32.wgsl",
    "common/row_reads.wgsl",
    "common/rows_bf16.wgsl",
    "common/rows_f16.wgsl",
    "common/rows_f32.wgsl",
    "common/rows_fixed.wgsl",
    "common/rows_words2_buffer.wgsl",
    "common/rows_words2_texture.wgsl",
    "common/rows_words4_buffer.wgsl",
    "common/rows_words4_texture.wgsl",
    "common/sums.wgsl",
    "common/team_portable.wgsl",
    "common/team_subgroup.wgsl",
    "common/unit_rows.wgsl",
    "common/unpack_bf16.wgsl",
    "common/unpack_f16.wgsl",
    "common/vectors_buffer.wgsl",
    "common/vectors_texture.wgsl",
    "common/wide.wgsl",
    "common/wide_float.wgsl",
    "geometry/histogram_solo.wgsl",
    "geometry/histogram_team.wgsl",
    "geometry/key.wgsl",
    "geometry/nearest_solo.wgsl",
    "geometry/nearest_team.wgsl",
    "nn/attention_distances.wgsl",
    "nn/attention_distances_none.wgsl",
    "nn/attention_forward.wgsl",
    "nn/attention_forward_tiled.wgsl",
    "nn/attention_fragments.wgsl",
    "nn/attention_operand.wgsl",
    "nn/attention_params.wgsl",
    "nn/attention_result.wgsl",
    "nn/attention_rows.wgsl",
    "nn/attention_stat.wgsl",
    "nn/attention_stores.wgsl",
    "nn/attention_tile_result.wgsl",
    "nn/attention_tiles.wgsl",
    "nn/attention_vectors.wgsl",
    "nn/cores_16.wgsl",
    "nn/cores_emulated.wgsl",
    "nn/gate_forms.wgsl",
    "nn/gelu_forms.wgsl",
    "nn/line_128.wgsl",
    "nn/line_64.wgsl",
    "nn/norm_rows.wgsl",
    "nn/ordered.wgsl",
    "nn/pair_slope.wgsl",
    "nn/rotary_params.wgsl",
    "nn/sigmoid.wgsl",
    "nn/table_q8.wgsl",
    "nn/table_words2.wgsl",
    "nn/table_words4.wgsl",
    "nn/turns.wgsl",
    "linalg/blocks.wgsl",
    "linalg/eight_half.wgsl",
    "linalg/eight_half_even.wgsl",
    "linalg/eight_rounded.wgsl",
    "linalg/epilogue_act.wgsl",
    "linalg/epilogue_gelu.wgsl",
    "linalg/epilogue_linear.wgsl",
    "linalg/epilogue_none.wgsl",
    "linalg/fragment_16.wgsl",
    "linalg/fragment_8.wgsl",
    "linalg/fragment_emulated.wgsl",
    "linalg/part_2x2.wgsl",
    "linalg/part_4x2.wgsl",
    "linalg/part_4x4.wgsl",
    "linalg/product.wgsl",
    "linalg/tile_32.wgsl",
    "linalg/tile_64.wgsl",
    "linalg/tile_128.wgsl",
    "linalg/tile_128_double.wgsl",
    "linalg/tile_128_shallow.wgsl",
    "picture/colours.wgsl",
    "stats/moments_batch.wgsl",
    "stats/moments_tile.wgsl",
    "optim/dynamic.wgsl",
    "optim/parameters_bf16.wgsl",
    "optim/parameters_f32.wgsl",
    "stats/row_scalars.wgsl",
];

/// The complete WGSL of `source`, its imports resolved; `imports` maps a variant's names to paths.
///
/// # Errors
/// A name or path that does not exist.
pub fn expand(source: &str, imports: &[(&str, &str)]) -> Result<String> {
    let mut out = String::with_capacity(source.len() * 2);
    expand_into(source, imports, &mut Vec::new(), &mut out)?;
    Ok(out)
}

/// A line that imports: the name, and the number behind it or nothing.
fn import(line: &str) -> Option<(&str, &str)> {
    let (name, number) = line.trim().strip_prefix("#import \"")?.split_once('"')?;
    Some((name, number.trim()))
}

fn expand_into(
    source: &str,
    imports: &[(&str, &str)],
    seen: &mut Vec<(String, String)>,
    out: &mut String,
) -> Result<()> {
    for line in source.lines() {
        let Some((name, number)) = import(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let one = |n: &str| !number.is_empty() && n.strip_prefix(name) == Some(number);
        let found = imports.iter().find(|(n, _)| one(n)).or_else(|| imports.iter().find(|(n, _)| *n == name));
        let path = found.map_or(name, |(_, path)| path);
        let key = (path.to_owned(), number.to_owned());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let Some((_, text)) = SOURCES.iter().find(|(p, _)| *p == path) else {
            return Err(Error::argument("shader", format!("#import \"{name}\": no such file or variant name")));
        };
        if text.contains('$') == number.is_empty() {
            let problem = if number.is_empty() { "asks for a number behind its name" } else { "takes no number" };
            return Err(Error::argument("shader", format!("#import \"{name}\" {number}: {path} {problem}")));
        }
        match number {
            "" => expand_into(text, imports, seen, out)?,
            number => expand_into(&text.replace('$', number), imports, seen, out)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_resolved_once_and_by_variant() {
        let text = "#import \"rows\"\n#import \"common/float_rows.wgsl\"\nfn f() {}";
        let imports = [("rows", "common/rows_f32.wgsl"), ("row_words4", "common/rows_words4_texture.wgsl")];
        let out = expand(text, &imports).unwrap();
        assert_eq!(out.matches("fn row_peak4").count(), 1);
        assert!(out.contains("textureLoad"));
        assert!(out.ends_with("fn f() {}\n"));
    }

    #[test]
    fn numbered_imports_come_once_for_each_number() {
        let imports = [("operand", "common/operand_buffer.wgsl")];
        let out = expand("#import \"operand\" 1\n#import \"operand\" 4\n#import \"operand\" 1", &imports).unwrap();
        for number in [1, 4] {
            assert_eq!(out.matches(&format!("fn read{number}(")).count(), 1, "{out}");
            assert_eq!(out.matches(&format!("@binding({number})")).count(), 1, "{out}");
        }
        assert!(!out.contains('$'), "{out}");
        for wrong in ["#import \"operand\"", "#import \"common/grid.wgsl\" 1"] {
            let error = expand(wrong, &imports).unwrap_err().to_string();
            assert!(error.contains("number"), "{error}");
        }
    }

    #[test]
    fn one_of_several_may_have_another_file() {
        let imports = [("operand", "common/operand_buffer.wgsl"), ("operand2", "common/operand_half_buffer.wgsl")];
        let out = expand("#import \"operand\" 1\n#import \"operand\" 2\n#import \"operand\" 12", &imports).unwrap();
        for (number, element) in [(1, "vec4<f32>"), (2, "vec2<u32>"), (12, "vec4<f32>")] {
            assert!(out.contains(&format!("operand{number}: array<{element}>")), "{out}");
        }
    }

    #[test]
    fn an_unknown_import_is_an_error() {
        let error = expand("#import \"nothing\"", &[]).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
    }
}
