"""MetaImage, .mha and .mhd: reader and writer of our own, equal to ITK's MetaIO wherever that is right.

Rules, checked against SimpleITK 2.5.7 (https://itk.org/Wiki/ITK/MetaIO/Documentation):

- TransformMatrix is written axis after axis: row k of the text is the world direction of index axis k, the transpose of
  ITK's direction. World is LPS+; CenterOfRotation and AnatomicalOrientation have no effect on it. ITK keeps columns
  that are not at right angles, and so does this reader.
- TransformMatrix goes before Rotation before Orientation; Origin before Offset before Position; ElementSpacing before
  ElementSize. The last of several lines with one key counts.
- Voxels: the first index is fastest. With ElementNumberOfChannels the channel is faster still; here it is the last
  array axis. A fourth dimension (time) becomes a trailing axis before the channels. Its spacing is
  `extra["ElementSpacing"][3]`. It is written in seconds as ITK has it, with the unit in a key TimeUnit that other
  readers pass over.
- ElementToIntensityFunctionSlope and Offset are not applied, as in ITK; a warning says so.
- DistanceUnits other than mm are converted, where ITK takes the numbers as mm; a warning says so.

`metadata.extra` holds the header by its keys, numbers as numbers. Written files hold the metadata that names nobody
(`_passed_on`) in MedjaxMetadata keys, which other readers pass over, and those keys of a MetaImage source that are not
the format's.
"""

from medjax._lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__)
