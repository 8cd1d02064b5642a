//! Where the keys and values of a sequence lie: the layout that `rope` appends to and `attention`
//! reads from.

use crate::config::Config;
use crate::error::{Error, Result, check_shape};

/// The extents and strides of one cache array, `[pages, page_size, kv_heads, head_dim]`.
///
/// K and V are two arrays of the same layout. A page holds `page_size` consecutive positions of one
/// sequence; a contiguous cache has one page per sequence. Strides count elements; the elements of
/// a head are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLayout {
    /// The number of pages.
    pub pages: usize,
    /// The positions in a page.
    pub page_size: usize,
    /// The key and value heads.
    pub kv_heads: usize,
    /// The elements of a head.
    pub head_dim: usize,
    /// From one page to the next.
    pub page_stride: u64,
    /// From one position of a page to the next.
    pub position_stride: u64,
    /// From one head to the next.
    pub head_stride: u64,
}

impl CacheLayout {
    /// The layout without gaps.
    ///
    /// # Errors
    ///
    /// `Value` if the element count passes `u64`.
    pub fn packed(
        pages: usize,
        page_size: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<CacheLayout> {
        let strides = (|| {
            let head_stride = head_dim as u64;
            let position_stride = head_stride.checked_mul(kv_heads as u64)?;
            let page_stride = position_stride.checked_mul(page_size as u64)?;
            page_stride.checked_mul(pages as u64)?;
            Some((page_stride, position_stride, head_stride))
        })();
        let Some((page_stride, position_stride, head_stride)) = strides else {
            let found = format!("[{pages}, {page_size}, {kv_heads}, {head_dim}]");
            return Err(Error::value("kv_cache", "shape", found, "less than 2^64 elements"));
        };
        Ok(CacheLayout {
            pages,
            page_size,
            kv_heads,
            head_dim,
            page_stride,
            position_stride,
            head_stride,
        })
    }

    /// The number of slots, each a position of a page.
    pub fn slots(&self) -> usize {
        self.pages.saturating_mul(self.page_size)
    }

    /// The length that an array of this layout has at least.
    ///
    /// # Errors
    ///
    /// `Value` if the last element's offset passes `usize`, or if it is too small for elements that
    /// do not overlap; named after `operator`.
    pub fn elements(&self, operator: &'static str) -> Result<usize> {
        if [self.pages, self.page_size, self.kv_heads, self.head_dim].contains(&0) {
            return Ok(0);
        }
        let last = |extent: usize, stride: u64| (extent as u64 - 1).checked_mul(stride);
        let elements = (|| {
            last(self.pages, self.page_stride)?
                .checked_add(last(self.page_size, self.position_stride)?)?
                .checked_add(last(self.kv_heads, self.head_stride)?)?
                .checked_add(self.head_dim as u64)
        })();
        let elements = elements.and_then(|elements| usize::try_from(elements).ok());
        let distinct = self.slots().saturating_mul(self.kv_heads).saturating_mul(self.head_dim);
        elements.filter(|&elements| distinct <= elements).ok_or_else(|| {
            let expected = "addressable extents that do not overlap";
            Error::value(operator, "cache layout", format!("{self:?}"), expected)
        })
    }

    /// The offset of a head's first element; the indices are within the extents.
    pub(crate) fn offset(&self, page: usize, position: usize, head: usize) -> usize {
        (page as u64 * self.page_stride
            + position as u64 * self.position_stride
            + head as u64 * self.head_stride) as usize
    }
}

/// The keys and values of a batch of sequences, in every block of a model.
///
/// What has not been appended yet is NaN, so that reading it shows in the result.
#[derive(Clone, Debug)]
pub struct KvCache<V> {
    pub(crate) layout: CacheLayout,
    /// `[sequences, pages of a sequence]`.
    pub(crate) block_table: Vec<i32>,
    /// One entry for each block.
    pub(crate) arrays: Vec<CacheArrays<V>>,
    /// The tokens that the cache holds of each sequence.
    lens: Vec<usize>,
    /// The most tokens that it can hold of each.
    capacity: usize,
}

/// The two arrays of one block.
#[derive(Clone, Debug)]
pub(crate) struct CacheArrays<V> {
    pub(crate) k: Vec<V>,
    pub(crate) v: Vec<V>,
}

/// Where the new tokens of one forward pass go.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    /// `[tokens]`.
    pub(crate) positions: Vec<i32>,
    /// `[tokens]`.
    pub(crate) slot_mapping: Vec<i64>,
    /// `[sequences + 1]`.
    pub(crate) cu_q_lens: Vec<usize>,
    /// The lengths with the new tokens, `[sequences]`.
    pub(crate) kv_lens: Vec<usize>,
}

impl<V: Clone + From<f32>> KvCache<V> {
    /// An empty cache of one page per sequence.
    ///
    /// # Errors
    ///
    /// As [`KvCache::paged`].
    pub fn contiguous(config: &Config, sequences: usize, capacity: usize) -> Result<KvCache<V>> {
        KvCache::paged(config, sequences, capacity, capacity.max(1))
    }

    /// An empty cache in pages of `page_size` positions, dealt to the sequences in turn.
    ///
    /// It holds `2 * layers * sequences * capacity * kv_heads * head_dim` values, the capacity
    /// rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// `Value` if the config describes no model, `page_size` is 0, or `capacity` passes
    /// `max_seq_len`, what an `i32` page number can address, or the memory that the system grants.
    pub fn paged(
        config: &Config,
        sequences: usize,
        capacity: usize,
        page_size: usize,
    ) -> Result<KvCache<V>> {
        config.validate()?;
        if capacity > config.max_seq_len {
            let expected = format!("at most max_seq_len = {}", config.max_seq_len);
            return Err(Error::value("kv_cache", "capacity", capacity, expected));
        }
        if page_size == 0 {
            return Err(Error::value("kv_cache", "page_size", 0, "at least 1"));
        }
        let pages_of_each = capacity.div_ceil(page_size);
        if sequences.checked_mul(pages_of_each.max(1)).is_none_or(|n| i32::try_from(n).is_err()) {
            let expected = format!("fewer than 2^31 pages, {pages_of_each} for each");
            return Err(Error::value("kv_cache", "sequences", sequences, expected));
        }
        let pages = sequences * pages_of_each;
        let layout = CacheLayout::packed(pages, page_size, config.kv_heads, config.head_dim())?;
        let elements = layout.elements("kv_cache")?;

        let empty = || {
            let mut array = Vec::new();
            if array.try_reserve_exact(elements).is_err() {
                let arrays = 2 * config.layers;
                let expected =
                    format!("less, as memory is short of {arrays} arrays of {elements} values");
                return Err(Error::value("kv_cache", "capacity", capacity, expected));
            }
            array.resize(elements, V::from(f32::NAN));
            Ok(array)
        };
        let arrays = (0..config.layers).map(|_| Ok(CacheArrays { k: empty()?, v: empty()? }));
        let arrays = arrays.collect::<Result<_>>()?;
        let mut block_table = Vec::with_capacity(pages);
        for sequence in 0..sequences {
            block_table.extend((0..pages_of_each).map(|page| (page * sequences + sequence) as i32));
        }
        Ok(KvCache { layout, block_table, arrays, lens: vec![0; sequences], capacity })
    }
}

impl<V> KvCache<V> {
    /// The tokens that the cache holds of each sequence.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// Forgets the tokens of every sequence after its first `len`, where it has more.
    pub fn truncate(&mut self, len: usize) {
        self.lens.iter_mut().for_each(|held| *held = len.min(*held));
    }

    /// Finds the place of `lens[s]` new tokens of each sequence.
    pub(crate) fn begin(&self, config: &Config, lens: &[usize]) -> Result<Append> {
        let layout = &self.layout;
        check_shape("dbrx", "lens", lens.len(), &[self.lens.len()])?;
        let made_for = (self.arrays.len(), layout.kv_heads, layout.head_dim);
        let model = (config.layers, config.kv_heads, config.head_dim());
        if made_for != model {
            let expected = format!("{model:?}, the model's");
            let argument = "cache (layers, kv_heads, head_dim)";
            return Err(Error::value("dbrx", argument, format!("{made_for:?}"), expected));
        }

        let pages = self.block_table.len().checked_div(lens.len()).unwrap_or_default();
        let mut new = Append {
            positions: Vec::new(),
            slot_mapping: Vec::new(),
            cu_q_lens: vec![0],
            kv_lens: Vec::new(),
        };
        for (sequence, (&held, &len)) in self.lens.iter().zip(lens).enumerate() {
            let kv_len = held.saturating_add(len);
            if kv_len > self.capacity {
                let argument = format!("the length of sequence {sequence}");
                let expected = format!("at most the cache's capacity of {}", self.capacity);
                return Err(Error::value("dbrx", argument, kv_len, expected));
            }
            for position in held..kv_len {
                let page = self.block_table[sequence * pages + position / layout.page_size];
                let slot = page as usize * layout.page_size + position % layout.page_size;
                new.positions.push(position as i32);
                new.slot_mapping.push(slot as i64);
            }
            new.cu_q_lens.push(new.positions.len());
            new.kv_lens.push(kv_len);
        }
        Ok(new)
    }

    /// Counts the tokens that a forward pass appended.
    pub(crate) fn commit(&mut self, lens: &[usize]) {
        self.lens.iter_mut().zip(lens).for_each(|(held, new)| *held += new);
    }
}
