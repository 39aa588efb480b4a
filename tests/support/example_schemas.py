"""Two schemas as a user writes them, one of which refers to the other."""

IMAGE_EXAMPLE = """\
allOf:
- $ref: core.schema.yaml
- type: object
  properties:
    data:
      title: The pixel data array
      fits_hdu: SCI
      ndim: 2
      datatype: float32
    err:
      title: Error array
      fits_hdu: ERR
      datatype: float32
    dq:
      title: Data quality array
      fits_hdu: DQ
      default: 0
      datatype: uint32
"""
CORE_EXAMPLE = """\
type: object
properties:
  meta:
    telescope:
      title: Telescope used to acquire the data
      type: string
      fits_keyword: TELESCOP
    instrument:
      title: Instrument used to acquire the data
      type: string
      enum: [FGS, MIRI, NIRCAM, NIRISS, NIRSPEC]
      fits_keyword: INSTRUME
    zero_frame:
      title: Zero frame was downlinked separately
      type: Boolean
      fits_keyword: ZEROFRAM
"""
