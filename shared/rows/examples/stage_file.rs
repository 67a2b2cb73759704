//! Stages a local file as Parquet files in a local folder and prints what that took, as one JSON line: `stage_file INPUT
//! FOLDER [LANES]`. A name that ends in `.json`, `.csv` or `.parquet` is that format, and any other one JSON lines.
//! The columns are those of the project's generator of benchmark rows.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use delivery::schema::{Field, Marking, PublicSchema, Shape};
use delivery::timestamp::Timestamp;
use rows::{
    BlockSource, Chunk, FileFactory, FileSink, Input, InputError, Limits, RunColumns, SeekableObject, SeekableSource,
    stage,
};

/// How much is read at once.
const CHUNK_BYTES: u64 = 512 << 10;

struct LocalFile(File);

impl BlockSource for LocalFile {
    fn next_block(&mut self) -> io::Result<Option<Chunk>> {
        let mut bytes = Vec::with_capacity(usize::try_from(CHUNK_BYTES).unwrap_or_default());
        (&self.0).take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        Ok((!bytes.is_empty()).then(|| Chunk::Bytes(Bytes::from(bytes))))
    }
}

/// A file, given out once.
struct OneFile(Option<File>);

impl SeekableSource for OneFile {
    fn next_object(&mut self) -> Result<Option<Box<dyn SeekableObject>>, InputError> {
        let Some(file) = self.0.take() else { return Ok(None) };
        let size = file.metadata().map_err(InputError::Read)?.len();
        Ok(Some(Box::new(SeekableFile { file: Mutex::new(file), size })))
    }
}

struct SeekableFile {
    file: Mutex<File>,
    size: u64,
}

impl SeekableObject for SeekableFile {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut file = self.file.lock().map_err(|_| io::Error::other("another read panicked"))?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        (&*file).take(range.end - range.start).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

struct LocalFolder(PathBuf);

impl FileFactory for LocalFolder {
    fn create(&self, index: usize) -> io::Result<Box<dyn FileSink>> {
        Ok(Box::new(LocalSink(File::create(self.0.join(format!("part-{index:05}.parquet")))?)))
    }
}

struct LocalSink(File);

impl FileSink for LocalSink {
    fn write(&mut self, part: Bytes) -> io::Result<()> {
        self.0.write_all(&part)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

fn generated_schema() -> Result<PublicSchema, Box<dyn Error>> {
    let string = |text: &str| Shape::String(text.to_owned());
    let seller = Shape::Object(vec![
        ("name".to_owned(), string("STRING")),
        ("city".to_owned(), string("STRING")),
        ("rating".to_owned(), string("NUMBER")),
        ("verified".to_owned(), string("BOOLEAN")),
    ]);
    let fields = [
        ("id", "NUMBER", None),
        ("title", "STRING", None),
        ("description", "STRING", None),
        ("price", "NUMBER", None),
        ("currency", "STRING", None),
        ("url", "LINK", None),
        ("image_url", "IMAGE", None),
        ("in_stock", "BOOLEAN", None),
        ("category", "STRING", None),
        ("review_count", "NUMBER", None),
        ("listed_on", "DATE", None),
        ("scraped_at", "DATETIME", None),
        ("seller", "OBJECT", Some(seller)),
        ("tags", "ARRAY", Some(Shape::Array(vec![string("STRING")]))),
        ("_confidence", "NUMBER", None),
        ("_source", "STRING", None),
    ];
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, data_type, shape)| Field {
            name: name.to_owned(),
            data_type: Some(data_type.to_owned()),
            field_type: Some("SCHEMA".to_owned()),
            key: false,
            marking: Marking::Public,
            description: None,
            shape,
        })
        .collect();
    Ok(PublicSchema::of(&fields)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: stage_file INPUT FOLDER [LANES]";
    let path = PathBuf::from(arguments.next().ok_or(usage)?);
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let lanes: NonZeroUsize = match arguments.next() {
        Some(lanes) => lanes.parse()?,
        None => std::thread::available_parallelism()?,
    };
    fs::create_dir_all(&folder)?;
    let schema = generated_schema()?;
    let run = RunColumns {
        run_id: "4b4bb7fa-46fb-4fc5-8f46-1c4e4c1bea36",
        finished_at: Timestamp::parse("2026-09-01T06:07:30Z").ok_or("a valid time")?,
    };
    let begin = Instant::now();
    let mut source = LocalFile(File::open(&path)?);
    let mut seekable = OneFile(Some(File::open(&path)?));
    let input = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Input::Json(&mut source),
        Some("csv") => Input::Csv(&mut source),
        Some("parquet") => Input::Parquet(&mut seekable),
        _ => Input::JsonLines(&mut source),
    };
    let mut rejects = io::stderr().lock();
    let staged = stage(input, &LocalFolder(folder), &mut rejects, &schema, run, &Limits::with_lanes(lanes))?;
    let bytes: u64 = staged.files.iter().map(|file| file.size_bytes).sum();
    let seconds = begin.elapsed().as_secs_f64();
    writeln!(
        io::stdout(),
        r#"{{"rows":{},"rejected":{},"seconds":{seconds:.3},"bytes":{bytes}}}"#,
        staged.rows,
        staged.rejected
    )?;
    Ok(())
}
