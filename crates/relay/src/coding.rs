//! Content codings: gzip, br and zstd, decoded as bytes arrive and never beyond a bound.

use std::io::Write;

/// A body may decode to this many times its size …
const RATIO_MAX: u64 = 100;
/// … counted from this size on, so that small bodies of repeated text pass.
const RATIO_FROM: u64 = 1024 * 1024;
/// Input handed to a decoder at once: bounds what one step can produce.
const STEP: usize = 256;

/// A coding that we decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Br,
    Zstd,
}

/// Why a coded body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCoding {
    /// The bytes are not of that coding, or end too early.
    #[error("the body is not what its content-encoding says")]
    Broken,
    /// More bytes than the bound, or a suspicious ratio.
    #[error("the body decodes to more than is taken")]
    TooLarge,
}

impl Coding {
    /// Reads a `content-encoding`; `Ok(None)` is identity, `Err` one that we do not know.
    pub(crate) fn parse(value: &str) -> Result<Option<Self>, ()> {
        match value.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "br" => Ok(Some(Self::Br)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => Err(()),
        }
    }
}

impl Coding {
    /// Whether a list of codings, such as `accept-encoding` names, holds this one.
    pub(crate) fn is_among(self, list: &http::HeaderValue) -> bool {
        let names = list.to_str().unwrap_or_default().split(',');
        names.map(|item| item.split(';').next().unwrap_or_default()).any(|name| Self::parse(name) == Ok(Some(self)))
    }
}

enum Inner {
    Gzip(flate2::write::MultiGzDecoder<Vec<u8>>),
    Br(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Decoder<'static, Vec<u8>>),
}

/// Decodes a body piece by piece.
pub(crate) struct Decoder {
    inner: Inner,
    consumed: u64,
    produced: u64,
    max: u64,
}

impl Decoder {
    /// A decoder that produces at most `max` bytes.
    pub(crate) fn new(coding: Coding, max: u64) -> Result<Self, BadCoding> {
        let inner = match coding {
            Coding::Gzip => Inner::Gzip(flate2::write::MultiGzDecoder::new(Vec::new())),
            Coding::Br => Inner::Br(Box::new(brotli::DecompressorWriter::new(Vec::new(), 4096))),
            Coding::Zstd => Inner::Zstd(zstd::stream::write::Decoder::new(Vec::new()).map_err(|_| BadCoding::Broken)?),
        };
        Ok(Self { inner, consumed: 0, produced: 0, max })
    }

    /// Decodes a piece into `out`.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BadCoding> {
        for step in piece.chunks(STEP) {
            let written = match &mut self.inner {
                Inner::Gzip(decoder) => decoder.write_all(step),
                Inner::Br(decoder) => decoder.write_all(step),
                Inner::Zstd(decoder) => decoder.write_all(step),
            };
            written.map_err(|_| BadCoding::Broken)?;
            self.consumed += step.len() as u64;
            self.take(out)?;
        }
        Ok(())
    }

    /// Decodes what is left at the end of the body.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BadCoding> {
        let finished = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.try_finish(),
            Inner::Br(decoder) => decoder.close(),
            Inner::Zstd(decoder) => decoder.flush(),
        };
        finished.map_err(|_| BadCoding::Broken)?;
        self.take(out)
    }

    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), BadCoding> {
        let made = match &mut self.inner {
            Inner::Gzip(decoder) => decoder.get_mut(),
            Inner::Br(decoder) => decoder.get_mut(),
            Inner::Zstd(decoder) => decoder.get_mut(),
        };
        self.produced += made.len() as u64;
        if self.produced > self.max || (self.produced > RATIO_FROM && self.produced / RATIO_MAX > self.consumed) {
            return Err(BadCoding::TooLarge);
        }
        out.append(made);
        Ok(())
    }
}

/// Decodes a whole body.
pub(crate) fn decode(coding: Coding, body: &[u8], max: u64) -> Result<Vec<u8>, BadCoding> {
    let mut decoder = Decoder::new(coding, max)?;
    let mut out = Vec::new();
    decoder.push(body, &mut out)?;
    decoder.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_coding_decodes() {
        let text = b"{\"model\":\"m\"} and more of it".repeat(100);
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 5, 22).write_all(&text).unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        for (coding, coded) in [(Coding::Gzip, gzip(&text)), (Coding::Br, br), (Coding::Zstd, zstd)] {
            assert_eq!(decode(coding, &coded, 1 << 20).as_deref(), Ok(text.as_slice()), "{coding:?}");
            assert_eq!(decode(coding, &coded, 100), Err(BadCoding::TooLarge), "{coding:?}");
            assert!(decode(coding, b"plain text", 1 << 20).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_early() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert_eq!(decode(Coding::Gzip, &bomb, 1 << 40), Err(BadCoding::TooLarge));
    }
}
