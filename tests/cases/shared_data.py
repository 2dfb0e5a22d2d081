"""Public scans that are no part of the repository. Tests that need them skip in a clone that has no such folder beside it.

Use: `from shared_data import DATA, needs_data`. Nothing hangs on these scans alone: `COVERED` names for every such test the
tests that show the same on made data, or on files inside installed packages. `tests/house/test_shared_data.py` holds the
table true, and conftest.py fails a run that skips a test although the folder is there.
"""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")

# Tests of the collection itself: that each of its items has a test.
OF_THE_COLLECTION = {
    "io/dicom/test_dicom_files.py::test_every_dicom_item_has_a_test",
    "io/metaimage/test_metaimage.py::test_every_public_file_has_a_test",
    "io/mrb/test_mrb.py::test_every_shared_scene_has_a_test",
    "io/nrrd/test_nrrd.py::test_every_public_file_has_a_test",
    "io/test_formats_data.py::test_every_expected_item_has_a_test",
    "io/test_formats_data.py::test_every_synthetic_truth_has_a_test",
}

_DICOM = {
    # Regular stacks: order, direction, jitter, rounded cosines, tilt, slopes, padding, MONOCHROME1, odd names.
    "test_dicom.py": (
        "test_voxels_are_column_row_slice_on_the_stated_grid",
        "test_order_of_files_names_and_numbers_does_not_matter",
        "test_slices_ascend_along_the_normal_wherever_that_points",
        "test_files_without_ending_in_folders_with_odd_names_among_junk",
        "test_one_file_is_one_slice_as_thick_as_it_says",
        "test_positions_win_over_thickness_spacing_and_location",
        "test_rounded_cosines_are_made_orthonormal",
        "test_jitter_below_one_percent_is_one_grid",
        "test_gantry_tilt_loads_with_the_exact_sheared_affine_and_warns",
        "test_each_slice_has_its_own_slope_and_intercept",
        "test_padding_and_monochrome1_are_kept_and_flagged",
        "test_a_picture_without_a_place_lies_at_the_origin_and_says_so",
        "test_spacing_at_the_detector_stands_in_for_pixel_spacing",
    ),
    # Encodings: bits, compression, colour, palettes, deflate, no preamble, bytes behind the pixels.
    "test_dicom_pixels.py": (
        "test_only_the_stored_bits_count",
        "test_every_integer_type_and_byte_order",
        "test_single_bits",
        "test_lossless_compression_changes_nothing",
        "test_frames_of_a_compressed_object_go_to_their_places",
        "test_the_header_says_whether_a_compressed_pixel_has_a_sign",
        "test_compressed_colours_are_the_last_axis",
        "test_12_bit_lossy_jpeg_is_read_by_gdcm",
        "test_red_green_and_blue_are_the_last_axis",
        "test_luma_and_chroma_become_red_green_and_blue",
        "test_a_palette_becomes_its_colours",
        "test_pixels_cut_short_are_refused_with_both_numbers",
        "test_a_header_cut_before_the_pixels_is_refused",
        "test_bytes_after_the_pixels_do_not_matter",
        "test_no_preamble_and_no_meta_information",
        "test_big_endian_without_meta_information",
        "test_a_deflated_data_set",
    ),
    # Several volumes, enhanced objects, mosaics, dose, loops.
    "test_dicom_volumes.py": (
        "test_volumes_are_told_apart_by_what_they_state",
        "test_echo_times_phase_is_a_product_of_volumes",
        "test_scaling_of_each_slice_of_each_volume",
        "test_frames_of_an_enhanced_object_are_placed_one_by_one",
        "test_one_volume_with_shared_geometry_and_scaling_per_frame",
        "test_what_a_frame_states_goes_before_what_is_shared",
        "test_several_enhanced_files_make_one_series",
        "test_geometry_at_the_top_level_serves_frames_without_their_own",
        "test_tiles_of_a_mosaic_are_slices",
        "test_mosaics_of_a_series_are_volumes",
        "test_dose_lies_at_its_offsets_and_is_in_gray",
        "test_a_loop_of_pictures_is_one_slice_with_moments",
        "test_frames_with_a_distance_but_no_place_are_a_volume_and_say_so",
    ),
    "test_dicom_scaling.py": (
        "test_frames_are_scaled_by_their_own_groups_then_the_shared_ones_then_the_top",
        "test_magnitude_and_phase_of_one_series_are_two_stacks",
    ),
    # Folders that hold no single scan.
    "test_dicom_choice.py": (
        "test_several_series_are_listed_with_how_to_choose",
        "test_a_localiser_inside_a_series_is_a_stack_of_its_own",
        "test_a_missing_slice_is_named",
        "test_a_gap_is_interpolated_or_filled_on_request",
        "test_variable_spacing_is_resampled_in_millimetres",
        "test_tilt_and_variable_spacing_are_named_together",
        "test_copies_of_a_slice_are_left_out_with_a_warning",
        "test_two_slices_at_one_position_are_refused_by_name",
        "test_repeats_at_one_position_are_stacked_only_when_asked",
        "test_positions_are_never_guessed",
        "test_geometry_that_fits_no_grid_is_refused",
    ),
    "test_dicom_scan.py": ("test_reports_are_no_images_and_no_damage", "test_a_folder_of_nothing_else_names_them"),
    "test_dicom_seg.py": ("test_label_maps_are_read_as_stored", "test_the_liver_that_ships_with_pydicom"),
}
_ALL_DICOM = tuple(f"io/dicom/{file}::{name}" for file, names in _DICOM.items() for name in names)


def _dicom(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"io/dicom/{file}::{name}" for name in names)


# For each test that needs the scans: the tests that show the same without them.
COVERED: dict[str, tuple[str, ...]] = {
    "io/dicom/test_dicom_files.py::test_voxels_and_geometry_are_those_of_the_reader_that_is_right": _ALL_DICOM,
    "io/dicom/test_dicom_files.py::test_what_is_no_single_image_is_refused_by_its_reason": _ALL_DICOM,
    "io/dicom/test_dicom_files.py::test_what_no_other_reader_has_right": _ALL_DICOM,
    "io/dicom/test_dicom_files.py::test_synthetic_truth": _ALL_DICOM,
    "io/dicom/test_dicom_files.py::test_the_mosaic_is_the_nifti_that_came_with_it": _dicom(
        "test_dicom_volumes.py", "test_tiles_of_a_mosaic_are_slices", "test_mosaics_of_a_series_are_volumes"
    ),
    "io/dicom/test_dicom_files.py::test_the_gap_is_closed_on_request": _dicom(
        "test_dicom_choice.py", "test_a_gap_is_interpolated_or_filled_on_request"
    ),
    "io/dicom/test_dicom_files.py::test_the_tilted_uneven_stack_is_resampled_along_its_lean": _dicom(
        "test_dicom_choice.py",
        "test_variable_spacing_is_resampled_in_millimetres",
        "test_tilt_and_variable_spacing_are_named_together",
    ),
    "io/dicom/test_dicom_files.py::test_a_dicomdir_lists_what_its_folder_holds": _dicom(
        "test_dicom_damage.py", "test_a_dicomdir_leads_to_its_series"
    ),
    "io/dicom/test_dicom_files.py::test_each_of_two_orientations_is_an_image": _dicom(
        "test_dicom_choice.py", "test_a_localiser_inside_a_series_is_a_stack_of_its_own"
    ),
    "io/dicom/test_dicom_files.py::test_one_position_watched_over_time_is_a_trailing_axis_on_request": _dicom(
        "test_dicom_choice.py", "test_repeats_at_one_position_are_stacked_only_when_asked"
    ),
    "io/dicom/test_dicom_files.py::test_the_pet_keeps_what_suv_needs_per_slice": _dicom(
        "test_dicom_metadata.py",
        "test_every_public_attribute_is_kept_by_keyword_and_safe_for_json",
        "test_what_differs_is_kept_per_slice_in_the_order_of_the_slices",
    ),
    "io/dicom/test_dicom_elements.py::test_real_files": _dicom(
        "test_dicom_elements.py",
        "test_elements_of_every_kind",
        "test_functional_groups",
        "test_the_files_that_pydicom_brings",
    ),
    "io/dicom/test_dicom_seg.py::test_dcmqi_examples_equal_their_nrrd_truth": _dicom(
        "test_dicom_seg.py", "test_objects_written_by_highdicom", "test_label_maps_are_read_as_stored"
    ),
    "io/dicom/test_dicom_write.py::test_real_series_come_back": _dicom(
        "test_dicom_write.py",
        "test_every_reader_finds_the_voxels_where_they_were",
        "test_whole_numbers_are_exact",
        "test_slices_refer_to_the_slices_they_were_made_from",
        "test_pet_keeps_what_suv_depends_on",
    ),
    "io/hdf5/test_hdf5_foreign.py::test_medimages_file_of_the_shared_data": (
        "io/hdf5/test_hdf5_foreign.py::test_medimages_files_load",
    ),
    "io/metaimage/test_metaimage.py::test_public_files_are_read_as_simpleitk_does": (
        "io/metaimage/test_metaimage.py::test_reads_as_simpleitk_does",
        "io/metaimage/test_metaimage.py::test_two_dimensions_are_one_slice",
        "io/metaimage/test_metaimage.py::test_data_beside_the_header",
    ),
    "io/metaimage/test_metaimage.py::test_synthetic_files_are_read_as_they_were_made": (
        "io/metaimage/test_metaimage.py::test_reads_as_simpleitk_does",
        "io/metaimage/test_metaimage.py::test_zlib_needs_no_size",
        "io/test_damage.py::test_refused",
        "io/test_damage.py::test_data_outside_the_folder_are_refused",
    ),
    "io/mrb/test_mrb.py::test_shared_scenes": (
        "io/mrb/test_mrb.py::test_parent_times_child_times_affine",
        "io/mrb/test_mrb.py::test_file_names_are_unquoted",
        "io/mrb/test_mrb.py::test_members_that_lead_out_are_refused",
    ),
    "io/nifti/test_nifti.py::test_real_scans": (
        "io/nifti/test_nifti.py::test_nibabels_own_files",
        "io/nifti/test_nifti.py::test_sform_is_lps_millimetres",
        "io/nifti/test_nifti.py::test_qform_alone",
        "io/nifti/test_nifti.py::test_no_orientation_is_lps_with_a_warning",
        "io/nifti/test_nifti.py::test_shear_is_kept_and_named",
        "io/nifti/test_nifti.py::test_stored_dtype_and_values_are_kept",
        "io/nifti/test_nifti.py::test_colours_are_trailing_channels",
        "io/nifti/test_nifti.py::test_labels_are_labels",
        "io/nifti/test_nifti_files.py::test_bytes_after_the_voxels_are_mentioned",
    ),
    "io/nifti/test_nifti.py::test_synthetic_traps": (
        "io/nifti/test_nifti.py::test_sform_counts_when_the_qform_disagrees",
        "io/nifti/test_nifti.py::test_no_orientation_is_lps_with_a_warning",
        "io/nifti/test_nifti.py::test_shear_is_kept_and_named",
        "io/nifti/test_nifti.py::test_scaling_is_computed_in_float64",
        "io/nifti/test_nifti.py::test_nan_and_infinity_stay",
        "io/nifti/test_nifti.py::test_axes",
        "io/nifti/test_nifti_files.py::test_pairs_by_either_name",
        "io/nifti/test_nifti_files.py::test_truncated_anywhere",
        "io/nifti/test_nifti_files.py::test_compressions_by_content",
    ),
    "io/nifti/test_nifti.py::test_forty_eight_orders_are_one_head": (
        "io/nifti/test_nifti.py::test_every_order_of_axes_is_one_scan",
    ),
    "io/nifti/test_nifti_write.py::test_real_scans_come_back": (
        "io/nifti/test_nifti_write.py::test_nibabels_own_files_come_back",
        "io/nifti/test_nifti_write.py::test_round_trip",
        "io/nifti/test_nifti_write.py::test_codes_come_back",
        "io/nifti/test_nifti_write.py::test_qform_is_nibabels",
    ),
    "io/nrrd/test_nrrd.py::test_public_files": (
        "io/nrrd/test_nrrd.py::test_reads_as_simpleitk_and_pynrrd_do",
        "io/nrrd/test_nrrd.py::test_encodings_that_one_of_them_lacks",
        "io/nrrd/test_nrrd.py::test_two_dimensions",
        "io/nrrd/test_nrrd.py::test_without_space_directions_spacings_count",
        "io/nrrd/test_nrrd.py::test_missing_origin_is_zero_and_said",
        "io/test_files_paths.py::test_a_few_bytes_too_many_are_warned_of",
    ),
    "io/nrrd/test_nrrd.py::test_four_dimensions_of_pynrrds_own_file": (
        "io/nrrd/test_nrrd.py::test_axis_without_direction_trails_wherever_it_stands",
        "io/nrrd/test_nrrd.py::test_missing_origin_is_zero_and_said",
        "io/test_files_paths.py::test_a_few_bytes_too_many_are_warned_of",
    ),
    "pet/test_suv.py::test_digital_reference_objects": (
        "pet/test_suv.py::test_generated_examination",
        "pet/test_suv_header.py::test_start_divides_by_what_is_left_of_the_dose",
    ),
    "pet/test_suv.py::test_vendor_headers": (
        "pet/test_suv_header.py::test_order_of_reference_times",
        "pet/test_suv_header.py::test_earliest_acquisition_of_all_slices_counts",
        "pet/test_suv_header.py::test_philips_counts",
    ),
    "pet/test_suv.py::test_scan_of_a_patient_against_its_real_world_value_object": (
        "pet/test_suv_header.py::test_normalisers",
        "pet/test_suv_header.py::test_body_surface_area",
        "pet/test_suv_vendor_times.py::test_a_vendor_s_time_after_the_acquisition_is_not_used",
    ),
}
